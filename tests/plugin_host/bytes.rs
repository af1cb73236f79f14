//! Components that no compiler would make, put together byte by byte.

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

/// A component with this many instances of one module, which has this many tables and memories.
pub(crate) fn component(instances: usize, tables: usize, memories: usize) -> Bytes {
    let module =
        [section(4, &entries(tables, &[0x70, 0, 0])), section(5, &entries(memories, &[0, 0]))];
    // Each instantiates module 0, without arguments.
    around(&module, &section(2, &entries(instances, &[0, 0, 0]))).into()
}

/// A component with one function `(i32) -> i32` that has this body, and this many i64 locals.
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

/// A component of 16 KiB that takes a compiler more than a minute: a thousand nested loops, each of which
/// uses a thousand variables that depend on one another.
pub(crate) fn endless_to_compile() -> Vec<u8> {
    const LOOPS: usize = 1_000;
    const LOCALS: usize = 1_000;
    let get = |local: usize| [vec![0x20], leb(local + 1)].concat();
    let mut body = [0x03, 0x40].repeat(LOOPS);
    for local in 0..LOCALS {
        // local = local + another local
        body.extend(
            [get(local), get(local * 7 % LOCALS), vec![0x7c, 0x21], leb(local + 1)].concat(),
        );
    }
    // Each loop goes on while the argument is not zero.
    body.extend([0x20, 0, 0x0d, 0, 0x0b].repeat(LOOPS));
    body.extend([0x20, 0]);
    function(LOCALS, &body)
}

/// Components nested in each other.
pub(crate) fn deep(levels: usize) -> Vec<u8> {
    let empty = b"\0asm\x0d\0\x01\0".to_vec();
    (0..levels).fold(empty.clone(), |inner, _| [empty.clone(), section(4, &inner)].concat())
}

/// A component that exports an empty instance under each of these names.
pub(crate) fn exporting(names: &[&str]) -> Vec<u8> {
    let instance = section(5, &[1, 1, 0]);
    let exports = names
        .iter()
        .flat_map(|name| [&[0][..], &leb(name.len()), name.as_bytes(), &[0x05, 0, 0]].concat());
    let exports = [leb(names.len()), exports.collect()].concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), instance, section(11, &exports)].concat()
}

/// The same component, which also exports its first module.
pub(crate) fn exporting_module(component: &[u8]) -> Vec<u8> {
    [component, section(11, b"\x01\0\x05extra\0\x11\0\0").as_slice()].concat()
}

/// `(loop br 0)`
pub(crate) const LOOPS: &[u8] = &[0x03, 0x40, 0x0c, 0, 0x0b];

/// `(loop (drop (table.grow (ref.null func) (i32.const 4096))) br 0)`
pub(crate) const GROWS_ITS_TABLE: &[u8] =
    &[0x03, 0x40, 0xd0, 0x70, 0x41, 0x80, 0x20, 0xfc, 0x0f, 0, 0x1a, 0x0c, 0, 0x0b];

/// `(loop (drop (memory.grow (i32.const 16))) br 0)`
pub(crate) const GROWS: &[u8] = &[0x03, 0x40, 0x41, 0x10, 0x40, 0, 0x1a, 0x0c, 0, 0x0b];

/// The same component with one more module. It has a table and a memory, and runs `body` when it starts.
pub(crate) fn starting(component: &[u8], body: &[u8]) -> Vec<u8> {
    let body = [&[0], body, &[0x0b]].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[1, 0]),
        section(4, &[1, 0x70, 0, 0]),
        section(5, &[1, 0, 0]),
        section(8, &[0]),
        section(10, &[&[1][..], &leb(body.len()), &body].concat()),
    ];
    let instance = [vec![1, 0], leb(modules(component)), vec![0]].concat();
    [component, &section(1, &module.concat()), &section(2, &instance)].concat()
}

/// How many modules the component itself has.
fn modules(component: &[u8]) -> usize {
    let (mut at, mut count) = (8, 0);
    while at < component.len() {
        let id = component[at];
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        count += usize::from(id == 1);
        at += 1 + size;
    }
    count
}
