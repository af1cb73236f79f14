//! An allocator for plugins, whose instances live for one activation: it hardly frees memory, so it is small
//! and fast.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};

/// Enough for an ordinary activation, so that its memory never grows; costs nothing until touched.
const FIRST_BYTES: usize = 256 * 1024;

/// Size of a page of WebAssembly memory.
const PAGE_BYTES: usize = 64 * 1024;

#[repr(align(16))]
struct First(UnsafeCell<[u8; FIRST_BYTES]>);

/// Hands out memory from one end to the other. Only the block that was handed out last is freed or
/// resized in place.
pub struct Arena {
    first: First,
    next: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: a plugin has only one thread, as the target has no others.
unsafe impl Sync for Arena {}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// An arena that has handed out nothing yet.
    pub const fn new() -> Self {
        let first = First(UnsafeCell::new([0; FIRST_BYTES]));
        Self { first, next: Cell::new(0), end: Cell::new(0) }
    }

    /// Makes room for `bytes` at the end of the memory; false if the host refuses.
    fn grow(&self, bytes: usize) -> bool {
        let pages = bytes.div_ceil(PAGE_BYTES);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return false;
        }
        // Nothing else grows the memory, so the new pages follow those of the last call.
        if before * PAGE_BYTES != self.end.get() {
            self.next.set(before * PAGE_BYTES);
        }
        self.end.set((before + pages) * PAGE_BYTES);
        true
    }

    fn reserve(&self, layout: Layout) -> Option<usize> {
        if self.end.get() == 0 {
            let start = self.first.0.get() as usize;
            self.next.set(start);
            self.end.set(start + FIRST_BYTES);
        }
        let fit = |next: usize| {
            let start = next.checked_next_multiple_of(layout.align())?;
            Some((start, start.checked_add(layout.size())?))
        };
        let (mut start, mut stop) = fit(self.next.get())?;
        if stop > self.end.get() {
            if !self.grow(layout.size().checked_add(layout.align())?) {
                return None;
            }
            (start, stop) = fit(self.next.get())?;
        }
        self.next.set(stop);
        Some(start)
    }
}

// SAFETY: `reserve` returns ranges inside of the memory that are aligned and do not overlap; a range
// is given out again only after it was freed as the last one.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.reserve(layout).map_or(std::ptr::null_mut(), |start| start as *mut u8)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block as usize + layout.size() == self.next.get() {
            self.next.set(block as usize);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let start = block as usize;
        if size <= layout.size() {
            return block;
        }
        if start + layout.size() == self.next.get() && size <= self.end.get() - start {
            self.next.set(start + size);
            return block;
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
            return std::ptr::null_mut();
        };
        match self.reserve(wanted) {
            Some(target) => {
                let target = target as *mut u8;
                // SAFETY: both ranges are in memory, apart, and at least as long as the old block.
                unsafe { std::ptr::copy_nonoverlapping(block, target, layout.size()) };
                target
            }
            None => std::ptr::null_mut(),
        }
    }
}
