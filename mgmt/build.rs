//! Compiles the API with a protobuf compiler written in Rust, so that the build needs no `protoc`.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 6] = [
    "sekisho/v1/config.proto",
    "sekisho/v1/interface.proto",
    "sekisho/v1/nat.proto",
    "sekisho/v1/routing.proto",
    "sekisho/v1/system.proto",
    "sekisho/v1/tunnel.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("sekisho.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .message_attribute(".", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
