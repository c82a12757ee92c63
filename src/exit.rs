//! Exit codes.

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
/// The parser of the command line gives it too.
pub const WRONG_USAGE: u8 = 2;
pub const BAD_CONFIGURATION: u8 = 64;
/// What shells give for a command that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;
