//! A growable array cut into shared chunks.
//!
//! A snapshot of 200,000 servers in which one weight changed must not copy 200,000 servers. Cloning a `Chunks` copies
//! one pointer per chunk; writing an element copies the chunk that holds it, and nothing else, if a published snapshot
//! still shares it.

use std::sync::Arc;

/// Elements per chunk: 64 servers of 128 bytes are two pages, a copy of about 1 µs.
const CHUNK_LEN: usize = 64;

/// An array of `T` indexed by small integers, cheap to clone and to change in one place.
#[derive(Clone, Debug)]
pub struct Chunks<T> {
    chunks: Vec<Arc<[Option<T>; CHUNK_LEN]>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { chunks: Vec::new() }
    }
}

impl<T: Clone> Chunks<T> {
    /// The element at `index`, if there is one.
    #[inline]
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK_LEN)?[index % CHUNK_LEN].as_ref()
    }

    /// The element at `index` to be changed; other snapshots keep what they have.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / CHUNK_LEN)?;
        Arc::make_mut(chunk)[index % CHUNK_LEN].as_mut()
    }

    /// Puts an element at `index`, growing the array if needed.
    pub fn set(&mut self, index: u32, value: Option<T>) {
        let index = index as usize;
        while self.chunks.len() <= index / CHUNK_LEN {
            self.chunks.push(Arc::new([const { None }; CHUNK_LEN]));
        }
        Arc::make_mut(&mut self.chunks[index / CHUNK_LEN])[index % CHUNK_LEN] = value;
    }

    /// All elements in the order of their index.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_the_clone_alone() {
        let mut first = Chunks::default();
        for index in 0..200 {
            first.set(index, Some(index));
        }
        let second = first.clone();
        *first.get_mut(130).unwrap() = 7;
        first.set(5, None);
        assert_eq!((first.get(130), second.get(130)), (Some(&7), Some(&130)));
        assert_eq!((first.get(5), second.get(5), second.get(200)), (None, Some(&5), None));
        assert_eq!((first.iter().count(), second.iter().count()), (199, 200));
        assert!(Arc::ptr_eq(&first.chunks[1], &second.chunks[1]), "an untouched chunk stays shared");
    }
}
