//! Arguments as users write them: `--name value` or `--name=value`.

/// The value of the last one of this name: that is the one which counts, as with every parser of arguments.
pub fn last<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().rposition(|arg| value_after(arg, name).is_some())?;
    match value_after(args.get(at)?, name)? {
        "" => args.get(at + 1).map(String::as_str),
        value => Some(value),
    }
}

/// What follows `=` in an argument of this name; empty when its value is the next argument.
pub fn value_after<'a>(arg: &'a str, name: &str) -> Option<&'a str> {
    let rest = arg.strip_prefix(name)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('=') }
}
