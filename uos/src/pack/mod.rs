//! Packs an initramfs (the init, the kernel modules that a guest needs, and the order to load them in).

pub mod cpio;
pub mod image;
pub mod order;
pub mod tree;
