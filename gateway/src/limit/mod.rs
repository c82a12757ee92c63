//! How much an address can take, and how many second tries everybody can: pure, but for atomic numbers.
//!
//! What must stay true: too much to do is never a fault; a limit is never below one; nobody waits for a lock.

mod adaptive;
mod budget;
mod hold;
mod rate;
mod said;
#[cfg(test)]
mod tests;

pub use adaptive::{
    Concurrency, LIMIT_INITIAL, LIMIT_MAX, LIMIT_MIN, LOWERED_AGAIN_MS, REST_MAX_MS, REST_MS_DEFAULT,
};
pub use budget::{LENT_PERCENT, RETRIES_FLOOR, RETRY_PERCENT, Retries, RetryBudget, SeenBudget, WINDOW_MS};
pub use hold::{Evidence, Hold, REST_WAITED_FOR_MAX_MS, Room};
pub use rate::{Rate, UsedUp};
pub use said::FADES_MS;
