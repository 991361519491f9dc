//! Packs an initramfs (the init, the kernel modules that a guest needs, and the order to load them in) and takes the
//! uncompressed kernel out of a distribution's.

pub mod cpio;
pub mod image;
pub mod kernel;
pub mod order;
pub mod tree;
