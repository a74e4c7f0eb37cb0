//! Writes the golden files that are missing:
//!
//! ```text
//! cargo run --release -p foil-proto --example write_golden
//! ```
//!
//! It never touches a file that is there: what was once published must decode for ever.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

#[path = "../tests/golden/hex.rs"]
mod hex;
#[path = "../tests/golden/values.rs"]
mod values;

const BYTES_PER_LINE: usize = 40;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for case in values::all() {
        let path = folder.join(case.file());
        match File::create_new(&path) {
            Ok(mut file) => {
                file.write_all(text(&case).as_bytes())?;
                println!("written  {}", case.file());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                println!("kept     {}", case.file());
            }
            Err(error) => return Err(error),
        }
        check(&case, &path)?;
    }
    Ok(())
}

fn text(case: &values::Case) -> String {
    let title = format!("# foil.v1.{} {}", case.message, case.variant);
    let hex = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = case.bytes.chunks(BYTES_PER_LINE).map(hex).collect();
    format!("{}\n{}\n", title.trim_end(), lines.join("\n"))
}

fn check(case: &values::Case, path: &Path) -> io::Result<()> {
    let bytes = hex::read(&std::fs::read_to_string(path)?).ok_or("it is not hex".to_owned());
    let compared = bytes.and_then(|bytes| (case.compare)(&bytes));
    compared.map_err(|problem| io::Error::other(format!("{}: {problem}", path.display())))
}
