//! How answers are written: tables for people, JSON and YAML for programs. What is in them is `view`'s.

mod age;
mod format;
mod table;
mod time;

pub(crate) use age::{age, duration};
pub(crate) use format::{Format, structured};
pub(crate) use table::Table;
pub(crate) use time::{rfc3339, since};

/// Text from elsewhere, with control characters made visible, so that it can't drive the terminal.
pub(crate) fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => clean.push(' '),
            control if control.is_control() => clean.extend(control.escape_unicode()),
            plain => clean.push(plain),
        }
    }
    clean.into()
}
