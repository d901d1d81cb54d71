//! Superblocks, field by field; `tests/image.rs` has mdadm read them.

use uuid::uuid;

use super::*;

const ARRAY: Uuid = uuid!("11112222-3333-4444-5555-666677778888");
const DEVICE: Uuid = uuid!("aaaabbbb-cccc-dddd-eeee-ffff00001111");

fn member(metadata: Metadata, role: u16) -> Member<'static> {
    let (name, size, made) = ("data", 512 << 20, 1_700_000_000);
    Member { metadata, array: ARRAY, name, device: DEVICE, role, size, made }
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(block[at..at + 8].try_into().expect("eight bytes"))
}

#[test]
fn superblock_and_bitmap_lie_where_the_metadata_version_says() {
    let sectors = (512 << 20) / SECTOR;
    for (metadata, own, bitmap, data) in
        [(Metadata::AtEnd, sectors - 16, -16, 0), (Metadata::AtStart, 8, 8, 2048)]
    {
        let [(at, block), (bitmap_at, _)] = member(metadata, 0).encode();
        assert_eq!(at, own * SECTOR, "{metadata:?}");
        assert_eq!(u64_at(&block, 144), own, "{metadata:?}");
        assert_eq!(u32_at(&block, 96) as i32, bitmap, "{metadata:?}");
        assert_eq!(bitmap_at as i64, at as i64 + i64::from(bitmap) * 512, "{metadata:?}");
        assert_eq!(u64_at(&block, 128), data, "{metadata:?}");
        assert_eq!(u64_at(&block, 136), sectors - 2048, "{metadata:?}");
    }
}

#[test]
fn the_checksum_is_of_all_words_but_its_own() {
    let [(_, mut block), _] = member(Metadata::AtEnd, 1).encode();
    let stored = u32_at(&block, 216);
    block[216..220].fill(0);
    assert_eq!(checksum(&block), stored);
    assert_eq!(checksum(&[0xff; 8]), 0xffff_ffff, "the carry is added");
    assert_eq!(checksum(&[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), 1);
}

#[test]
fn members_differ_in_their_role_and_nobody_else_has_one() {
    let of = |role| member(Metadata::AtStart, role).encode()[0].1.clone();
    let (first, second) = (of(0), of(1));
    assert_eq!((u32_at(&first, 160), u32_at(&second, 160)), (0, 1));
    assert_eq!(first[256..262], [0, 0, 1, 0, 0xff, 0xff]);
    assert_eq!(first[256..], second[256..]);
    assert_eq!(first[16..32], second[16..32]);
}

#[test]
fn the_bitmap_is_of_the_same_array_and_clean() {
    let [(_, block), (_, bitmap)] = member(Metadata::AtEnd, 0).encode();
    assert_eq!(bitmap[..4], *b"bitm");
    assert_eq!(bitmap[8..24], block[16..32]);
    assert_eq!((u64_at(&bitmap, 24), u64_at(&block, 200)), (1, 1), "events");
    assert_eq!(u64_at(&bitmap, 40), u64_at(&block, 80), "sectors");
    assert_eq!(u64_at(&block, 208), u64::MAX, "no resync");
}
