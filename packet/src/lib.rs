//! Wire formats: zero-copy header views, checksums, tunnel codecs.
