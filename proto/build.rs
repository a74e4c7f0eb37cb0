//! Generates the `foil.v1` types without a system protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "update",
        "work",
        "difference",
        "profile",
        "generate",
        "event",
    ]
    .map(|name| format!("foil/v1/{name}.proto"));
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, [Path::new(".")])?;
    prost_build::Config::new()
        // Differences are stored in Qdrant payloads and printed by `--json`, so they have a JSON form.
        .type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(".", "#[serde(default)]")
        .enum_attribute(".", "#[serde(rename_all = \"snake_case\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
