//! The file that names the modules to load, in order: one file name a line. Written by the packer, read by the init.

/// Where the modules are in the initramfs.
pub const DIR: &str = "lib/modules";

/// Where the order is in the initramfs.
pub const FILE: &str = "lib/modules/order";

/// A line that is no module's file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: `{text}` is not the name of a module's file")]
pub struct OrderError {
    /// Counted from 1.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

/// The file's text for these names.
pub fn write<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().flat_map(|name| [name, "\n"]).collect()
}

/// The names in the file, and what in it is none. Empty lines count for nothing.
pub fn read(text: &str) -> (Vec<String>, Vec<OrderError>) {
    let mut names = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        // Only a plain file name: nothing outside the directory is ever loaded.
        if line.ends_with(".ko") && !line.contains('/') {
            names.push(line.to_owned());
        } else if !line.is_empty() {
            errors.push(OrderError {
                line: index + 1,
                text: line.to_owned(),
            });
        }
    }
    (names, errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn given_a_line_that_is_no_module_when_read_then_it_is_told_and_the_rest_is_read() {
        let (names, errors) = read("virtio.ko\n\n../evil.ko\nREADME\nvirtio_pci.ko\n");
        assert_eq!(names, ["virtio.ko", "virtio_pci.ko"]);
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [3, 4]);
    }

    proptest! {
        #[test]
        fn given_any_names_when_written_and_read_then_they_are_the_same(names in proptest::collection::vec("[a-z_-]{1,12}\\.ko", 0..9)) {
            let text = write(names.iter().map(String::as_str));
            prop_assert_eq!(read(&text), (names, vec![]));
        }
    }
}
