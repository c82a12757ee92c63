//! Exit codes. Wrong usage is 2, given by the parser of the command line.

pub const DONE: u8 = 0;
pub const FAILED: u8 = 1;
pub const BAD_CONFIGURATION: u8 = 64;
/// What shells give for a command that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;
