//! The API `sekisho.v1`, as compiled from `proto/`. Messages serialize to the JSON that the CLI
//! shows: fields have the names of the protobuf fields.

/// `sekisho.v1`
pub mod v1 {
    #![allow(missing_docs, unused_qualifications, clippy::all)]
    tonic::include_proto!("sekisho.v1");
}

/// Describes all files of the API, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("sekisho");
