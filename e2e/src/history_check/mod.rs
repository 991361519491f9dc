//! What must be true of a history: of what clients were told, and of the trail that is left in the log. Pure: it is
//! given all that was seen, and says what is wrong with it.

mod kept;

pub use kept::{Lost, all_kept};
