//! The smallest guest that every hypervisor boots: a kernel that writes a line on its serial port and halts for good. Two
//! hundred of them run at once where a machine has room for a few Linux guests only.
//!
//! It is an ELF file that is entered as PVH has it, which cloud-hypervisor and Firecracker do, with a Multiboot header,
//! which QEMU's `-kernel` takes.

/// What it says on its first serial port.
pub const GREETING: &str = "tiny guest is up\r\n";

/// Where it is loaded: 1 MiB, the first address that a Multiboot image may have.
const LOAD: u32 = 0x10_0000;

/// The ELF header with the descriptions of two segments, and what follows it.
const ELF_BYTES: u32 = 64 + 2 * 56;
const NOTE_BYTES: u32 = 20;
const MULTIBOOT_BYTES: u32 = 32;

/// 32-bit protected mode, paging off, as Multiboot and PVH hand the processor over.
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
    let header = ELF_BYTES + NOTE_BYTES;
    let code_at = header + MULTIBOOT_BYTES;
    let entry = LOAD + code_at;
    let greeting = entry + size(CODE.len());
    let length = code_at + size(CODE.len()) + size(GREETING.len()) + 1;

    let mut image = elf(length);
    image.extend(note(entry));
    image.extend(multiboot(LOAD + header, LOAD + length, entry));
    let mut code = CODE;
    code[1..5].copy_from_slice(&greeting.to_le_bytes());
    image.extend(code);
    image.extend(GREETING.as_bytes());
    image.push(0);
    image
}

/// The headers of an ELF file of `length` bytes that is loaded whole, with a note after them.
fn elf(length: u32) -> Vec<u8> {
    const LOADED: u32 = 1;
    const NOTE: u32 = 4;
    const ALL_RIGHTS: u32 = 7;
    let segment = |kind: u32, offset: u32, length: u32| {
        let [offset, at, length, align] = [offset, LOAD + offset, length, 4].map(u64::from);
        let numbers = [offset, at, at, length, length, align];
        let kind = [kind, ALL_RIGHTS].into_iter().flat_map(u32::to_le_bytes);
        kind.chain(numbers.into_iter().flat_map(u64::to_le_bytes))
            .collect::<Vec<u8>>()
    };
    // 64 bits, little-endian, version 1; then executable, x86-64, version 1.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2_u16, 62, 1, 0].into_iter().flat_map(u16::to_le_bytes));
    // The entry, where the segments are described, and no sections.
    let [entry, segments] = [LOAD, 64].map(u64::from);
    elf.extend([entry, segments, 0].into_iter().flat_map(u64::to_le_bytes));
    elf.extend([0; 4]);
    // This header's size, a segment's size, how many there are, and no sections.
    elf.extend([64_u16, 56, 2, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
    elf.extend(segment(LOADED, 0, length));
    elf.extend(segment(NOTE, ELF_BYTES, NOTE_BYTES));
    elf
}

/// Says where Xen's boot protocol, PVH, enters.
fn note(entry: u32) -> Vec<u8> {
    const PHYS32_ENTRY: u32 = 18;
    let mut note: Vec<u8> = [4, 4, PHYS32_ENTRY]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    note.extend(b"Xen\0");
    note.extend(entry.to_le_bytes());
    note
}

/// With addresses in it: QEMU then looks at nothing else of the file.
fn multiboot(header: u32, end: u32, entry: u32) -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    // Magic, flags, checksum, then the addresses of the header, of the load, its end, the end of the BSS, the entry.
    let words = [MAGIC, HAS_ADDRESSES, checksum, header, LOAD, end, end, entry];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("the whole image has a few hundred bytes")
}
