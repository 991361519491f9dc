//! The smallest guest that a real QEMU boots: a kernel that writes a line on its serial port and halts for good. Two
//! hundred of them run at once where a machine has room for a few Linux guests only.
//!
//! It is a flat Multiboot image, which QEMU's `-kernel` takes: no file format around it, no firmware of its own.

/// What it says on its first serial port.
pub const GREETING: &str = "tiny guest is up\r\n";

/// Where it is loaded: 1 MiB, the first address that a Multiboot image may have.
const LOAD: u32 = 0x10_0000;

const HEADER_WORDS: usize = 8;

/// 32-bit protected mode, paging off, as Multiboot hands the processor over.
const CODE: [u8; 21] = [
    0xbe, 0, 0, 0, 0, // mov esi, GREETING (filled in below)
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8: the first serial port
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz halt
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xfa, // halt: cli
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// The image.
pub fn image() -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let size = |bytes: usize| u32::try_from(bytes).expect("the whole image has a hundred bytes");
    let entry = LOAD + size(4 * HEADER_WORDS);
    let greeting = entry + size(CODE.len());
    let end = greeting + size(GREETING.len()) + 1;
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    // Magic, flags, checksum, then the addresses of the header, of the load, its end, the end of the BSS, the entry.
    let header = [MAGIC, HAS_ADDRESSES, checksum, LOAD, LOAD, end, end, entry];

    let mut image: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut code = CODE;
    code[1..5].copy_from_slice(&greeting.to_le_bytes());
    image.extend(code);
    image.extend(GREETING.as_bytes());
    image.push(0);
    image
}
