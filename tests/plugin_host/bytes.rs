//! Components that no compiler would make, byte by byte.

use bytes::Bytes;

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], leb(content.len()).as_slice(), content].concat()
}

fn entries(count: usize, entry: &[u8]) -> Vec<u8> {
    [leb(count), entry.repeat(count)].concat()
}

fn around(module: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    let module = [b"\0asm\x01\0\0\0".to_vec(), module.concat()].concat();
    [b"\0asm\x0d\0\x01\0", section(1, &module).as_slice(), rest].concat()
}

/// A component of so many instances of one module, which holds so many tables and memories.
pub(crate) fn component(instances: usize, tables: usize, memories: usize) -> Bytes {
    let module =
        [section(4, &entries(tables, &[0x70, 0, 0])), section(5, &entries(memories, &[0, 0]))];
    // Each instantiates module 0, with no arguments.
    around(&module, &section(2, &entries(instances, &[0, 0, 0]))).into()
}

/// A component of one function `(i32) -> i32` of this body, with so many locals, all of them i64.
fn function(locals: usize, body: &[u8]) -> Vec<u8> {
    let body = [[1].to_vec(), leb(locals), vec![0x7e], body.to_vec(), vec![0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    let module = [
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &entries(1, &[0])),
        section(10, &entries(1, &body)),
    ];
    around(&module, &[])
}

/// A component of 16 KiB that takes a compiler more than a minute: a thousand loops inside of each
/// other, through each of which go a thousand variables that depend on one another.
pub(crate) fn endless_to_compile() -> Vec<u8> {
    const LOOPS: usize = 1_000;
    const LOCALS: usize = 1_000;
    let get = |local: usize| [vec![0x20], leb(local + 1)].concat();
    let mut body = [0x03, 0x40].repeat(LOOPS);
    for local in 0..LOCALS {
        // local = local + another one
        body.extend(
            [get(local), get(local * 7 % LOCALS), vec![0x7c, 0x21], leb(local + 1)].concat(),
        );
    }
    // Each loop goes on while the argument is not zero.
    body.extend([0x20, 0, 0x0d, 0, 0x0b].repeat(LOOPS));
    body.extend([0x20, 0]);
    function(LOCALS, &body)
}
