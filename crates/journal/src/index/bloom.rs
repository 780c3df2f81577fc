//! A Bloom filter of 64-byte blocks: a look-up reads one cache line, and a key takes about 12 bits.
//!
//! The high bits of the spread hash choose the block, so that keys added in ascending order fill the filter from front to back. A
//! product of the hash chooses one bit in each of the block's eight words. Both are part of the file format.

use crate::bytes::u64_at;
use crate::prefetch::prefetch;

pub(crate) const BLOCK_BYTES: usize = 64;
const BITS_PER_KEY: u64 = 12;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Block([u64; 8]);

#[derive(Debug)]
pub(crate) struct Bloom {
    blocks: Vec<Block>,
}

impl Bloom {
    pub(crate) fn for_keys(keys: u64) -> Bloom {
        let blocks = (keys * BITS_PER_KEY)
            .div_ceil(BLOCK_BYTES as u64 * 8)
            .max(1);
        Bloom {
            blocks: vec![Block::default(); blocks as usize],
        }
    }

    pub(crate) fn add(&mut self, hash: u64) {
        let at = self.block_of(hash);
        let block = &mut self.blocks[at];
        for (word, mask) in block.0.iter_mut().zip(masks(hash)) {
            *word |= mask;
        }
    }

    /// Prefetches the blocks of hashes that will be looked up.
    pub(crate) fn prefetch(&self, hashes: impl Iterator<Item = u64>) {
        for hash in hashes {
            prefetch(&self.blocks[self.block_of(hash)].0[0]);
        }
    }

    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block_of(hash)];
        let missing = block
            .0
            .iter()
            .zip(masks(hash))
            .fold(0, |missing, (word, mask)| missing | (mask & !word));
        missing == 0
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Appends the bytes of blocks `from..to`.
    pub(crate) fn write(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        for word in self.blocks[from..to].iter().flat_map(|block| block.0) {
            out.extend(word.to_le_bytes());
        }
    }

    pub(crate) fn with_blocks(blocks: u64) -> Bloom {
        Bloom {
            blocks: vec![Block::default(); blocks as usize],
        }
    }

    /// Fills the blocks from block `from` on with `bytes`.
    pub(crate) fn read(&mut self, from: usize, bytes: &[u8]) {
        for (block, chunk) in self.blocks[from..]
            .iter_mut()
            .zip(bytes.chunks_exact(BLOCK_BYTES))
        {
            for (word, at) in block.0.iter_mut().zip((0..BLOCK_BYTES).step_by(8)) {
                *word = u64_at(chunk, at);
            }
        }
    }

    fn block_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.blocks.len() as u128) >> 64) as usize
    }
}

fn masks(hash: u64) -> impl Iterator<Item = u64> {
    let bits = hash.wrapping_mul(MULTIPLIER);
    (0..8).map(move |word| 1 << ((bits >> (16 + 6 * word)) & 63))
}
