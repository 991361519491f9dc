//! The program itself, with real guests under a real nats-server: what must survive its own end, and what it must
//! put right. The guests' names say what they need; the Makefile leaves them out where that is missing, and says so.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod check;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests of `follow`, which use all of it"
)]
#[path = "../../src/follow/tests/leader.rs"]
mod leader;
mod needs_guest;
mod program;
mod storm;
mod walls;
