//! Takes the uncompressed kernel out of a distribution's: a hypervisor that enters it directly boots it sooner, as
//! nothing has to be decompressed in the guest. Knows LZ4 alone, which Debian's cloud kernel is compressed with.

/// "HdrS", the mark of a kernel with a boot header.
const HEADER: (usize, &[u8]) = (0x202, b"HdrS");
/// Where the header keeps the number of its own sectors after the first, and where in the rest the kernel is.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;

const LZ4_MAGIC: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
/// What one block of this form of LZ4 holds at most.
const LZ4_BLOCK: usize = 8 << 20;
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// A kernel that can't be uncompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Not a Linux kernel for x86-64 that carries its header, or cut off.
    #[error("not a Linux boot image, or only a part of one")]
    NotAnImage,
    /// Compressed in another way.
    #[error("the kernel is not compressed with LZ4; boot it as it is")]
    Compression,
    /// Compressed data that makes no sense.
    #[error("the compressed kernel is damaged: {0}")]
    Damaged(String),
}

/// The ELF kernel inside a `vmlinuz`.
pub fn unpack(image: &[u8]) -> Result<Vec<u8>, KernelError> {
    let payload = payload(image).ok_or(KernelError::NotAnImage)?;
    // The build appends the uncompressed size.
    let (blocks, size) = payload.split_last_chunk::<4>().ok_or(KernelError::NotAnImage)?;
    let blocks = blocks.strip_prefix(LZ4_MAGIC).ok_or(KernelError::Compression)?;
    let kernel = unpack_blocks(blocks)?;
    if kernel.len() != u32::from_le_bytes(*size) as usize || !kernel.starts_with(ELF_MAGIC) {
        return Err(KernelError::Damaged(
            "it is not the kernel that its header promises".to_owned(),
        ));
    }
    Ok(kernel)
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    image.get(HEADER.0..)?.strip_prefix(HEADER.1)?;
    let field = |at: usize| {
        image
            .get(at..)?
            .first_chunk()
            .map(|&bytes| u32::from_le_bytes(bytes) as usize)
    };
    let code = (usize::from(*image.get(SETUP_SECTORS)?) + 1) * SECTOR;
    let start = code.checked_add(field(PAYLOAD_OFFSET)?)?;
    image.get(start..)?.get(..field(PAYLOAD_LENGTH)?)
}

fn unpack_blocks(mut blocks: &[u8]) -> Result<Vec<u8>, KernelError> {
    let damaged = |why: &dyn ToString| KernelError::Damaged(why.to_string());
    let mut kernel = Vec::new();
    let mut block = vec![0; LZ4_BLOCK];
    while let Some((size, rest)) = blocks.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let (packed, rest) = rest
            .split_at_checked(size)
            .ok_or_else(|| damaged(&"a block is cut off"))?;
        let count = lz4_flex::block::decompress_into(packed, &mut block).map_err(|error| damaged(&error))?;
        kernel.extend(&block[..count]);
        blocks = rest;
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A boot image around a kernel, which is in LZ4 blocks that are not in fact smaller.
    fn image(kernel: &[u8], block: usize) -> Vec<u8> {
        let mut payload = LZ4_MAGIC.to_vec();
        for part in kernel.chunks(block) {
            // Literals alone: a token that says how many, then they.
            let mut packed = vec![(part.len().min(15) as u8) << 4];
            if part.len() >= 15 {
                packed.extend(std::iter::repeat_n(255, (part.len() - 15) / 255));
                packed.push(((part.len() - 15) % 255) as u8);
            }
            packed.extend(part);
            payload.extend((packed.len() as u32).to_le_bytes());
            payload.extend(packed);
        }
        payload.extend((kernel.len() as u32).to_le_bytes());
        let mut image = vec![0; 2 * SECTOR + 16];
        image[SETUP_SECTORS] = 1;
        image[HEADER.0..][..4].copy_from_slice(HEADER.1);
        image[PAYLOAD_OFFSET..][..4].copy_from_slice(&16u32.to_le_bytes());
        image[PAYLOAD_LENGTH..][..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn given_a_file_that_is_no_kernel_when_unpacked_then_it_says_so() {
        assert_eq!(unpack(b"hello"), Err(KernelError::NotAnImage));
        let mut other = image(b"\x7fELF", 64);
        other[2 * SECTOR + 16] = 0x1f;
        assert_eq!(unpack(&other), Err(KernelError::Compression));
        assert!(matches!(
            unpack(&image(b"no ELF", 64)),
            Err(KernelError::Damaged(_))
        ));
    }

    proptest! {
        #[test]
        fn given_a_kernel_when_packed_and_unpacked_then_it_is_the_same(
            rest in proptest::collection::vec(any::<u8>(), 0..2000), block in 1usize..700,
        ) {
            let kernel = [ELF_MAGIC, &rest].concat();
            prop_assert_eq!(unpack(&image(&kernel, block)), Ok(kernel));
        }

        #[test]
        fn given_a_broken_image_when_unpacked_then_it_never_panics(at in 0usize..1200, byte: u8, cut in 0usize..1300) {
            let mut bytes = image(&[ELF_MAGIC, &[7; 100]].concat(), 40);
            if let Some(broken) = bytes.get_mut(at) {
                *broken = byte;
            }
            bytes.truncate(cut);
            let _ = unpack(&bytes);
        }
    }
}
