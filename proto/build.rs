//! Compiles the .proto files without a protoc binary: messages and services, their JSON form, and the descriptor set
//! for gRPC reflection. Without the feature `grpc` there is nothing to compile.

#[cfg(feature = "grpc")]
mod compile {
    use std::error::Error;
    use std::path::PathBuf;

    use prost::Message;

    const FILES: [&str; 5] = ["attachment", "reason", "agent", "host", "guest"];

    pub(super) fn all() -> Result<(), Box<dyn Error>> {
        println!("cargo:rerun-if-changed=pipewright");
        let out = PathBuf::from(std::env::var("OUT_DIR")?);
        let files = FILES.map(|name| format!("pipewright/v1/{name}.proto"));
        let descriptors = protox::Compiler::new(["."])?
            .include_imports(true)
            .include_source_info(true)
            .open_files(files)?
            .file_descriptor_set();
        let bytes = descriptors.encode_to_vec();
        std::fs::write(out.join("descriptors.bin"), &bytes)?;
        pbjson_build::Builder::new()
            .register_descriptors(&bytes)?
            .preserve_proto_field_names()
            .emit_fields()
            .btree_map([".pipewright.v1.AttachmentSpec"])
            .build(&[".pipewright.v1"])?;
        tonic_prost_build::configure()
            .compile_well_known_types(true)
            // One order in everything that is printed.
            .btree_map(".pipewright.v1.AttachmentSpec")
            .extern_path(".google.protobuf", "::pbjson_types")
            .compile_fds(descriptors)?;
        Ok(())
    }
}

#[cfg(feature = "grpc")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    compile::all()
}

#[cfg(not(feature = "grpc"))]
fn main() {}
