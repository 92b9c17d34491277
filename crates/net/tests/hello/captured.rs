//! The files in `captured/`: what a program sent, record headers and all, as hexadecimal digits
//! below a line that names it. The random bytes and keys in them were good for one connection.

/// The bytes of `captured/NAME.hex`.
pub(crate) fn captured(name: &str) -> Vec<u8> {
    let path = format!(
        "{}/tests/hello/captured/{name}.hex",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// The names of all of them.
pub(crate) fn all() -> Vec<String> {
    let folder = format!("{}/tests/hello/captured", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    names.sort();
    names
}
