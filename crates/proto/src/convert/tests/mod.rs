//! What must hold of every conversion.

mod refusals;
mod round_trips;
