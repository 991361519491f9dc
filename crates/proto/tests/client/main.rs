//! The client against a real nats-server with the permissions of deploy/nats. What the scheduler and the
//! hosts do is played by fakes that say exactly what a test wants.

#![allow(clippy::unwrap_used)] // tests only: a panic is their failure

mod batches;
mod broker;
mod connecting;
mod console;
mod fake_log;
mod following;
mod hosts;
mod leader;
mod queries;
mod submitting;
