//! A remembered tree as bytes.

use super::super::links::Sought;
use super::super::seen::{Mount, Seen, Trust};
use super::super::tree::{DEEPEST, Live, Node, Scan};
use super::super::{Found, How, Kind, What};
use super::bytes::{Reader, Writer};

/// Devices and mounts, which many directories share.
type Mounts = Vec<(u64, Mount)>;

pub(super) fn write(to: &mut Writer, scan: &Scan, root: &Node) {
    let mounts: Mounts = scan
        .trusted
        .0
        .iter()
        .filter(|(_, trust)| **trust == Trust::Always)
        .map(|(mount, _)| *mount)
        .collect();
    to.signed(scan.clock);
    to.number(mounts.len() as u64);
    for (device, mount) in &mounts {
        to.number(*device);
        to.number(mount.number);
        to.number(mount.is_for_ever.into());
    }
    to.number(scan.sought.len() as u64);
    for (device, inode) in &scan.sought {
        to.number(*device);
        to.number(*inode);
    }
    node(to, root, &mounts);
}

pub(super) fn read(from: &mut Reader<'_>) -> Option<Scan> {
    let clock = from.signed()?;
    let mut mounts = Mounts::new();
    for _ in 0..from.length()? {
        let device = from.number()?;
        let number = from.number()?;
        let is_for_ever = from.number()? != 0;
        let mount = Mount {
            number,
            is_for_ever,
        };
        mounts.push((device, mount));
    }
    let mut sought = Sought::new();
    for _ in 0..from.length()? {
        sought.insert((from.number()?, from.number()?));
    }
    let mut directories = 0;
    let root = read_node(from, &mounts, 0, &mut directories)?;
    Some(Scan {
        root: Some(root),
        sought,
        clock,
        directories,
        ..Scan::default()
    })
}

/// A directory that tells what changed is written with what stands in it, any other only as the place of its
/// subdirectories.
fn node(to: &mut Writer, node: &Node, mounts: &Mounts) {
    to.bytes(&node.name);
    let mount = mounts.binary_search(&(node.seen.device, node.seen.mount));
    match mount {
        Ok(mount) if node.certain && node.found.iter().all(|one| tag(one.what).is_some()) => {
            to.number(mount as u64 + 1);
            to.number(node.seen.inode);
            to.signed(node.seen.changed.0);
            to.number(node.seen.changed.1.into());
            found(to, &node.found);
            found(to, &node.names);
            to.number(node.live.len() as u64);
            for one in &node.live {
                live(to, one);
            }
        }
        _ => to.number(0),
    }
    to.number(node.children.len() as u64);
    for child in &node.children {
        self::node(to, child, mounts);
    }
}

fn read_node(
    from: &mut Reader<'_>,
    mounts: &Mounts,
    depth: usize,
    count: &mut usize,
) -> Option<Node> {
    *count += 1;
    let name = from.bytes()?;
    // One that lies too deep is known, and hidden.
    if depth > DEEPEST + 1 || (depth > 0 && !is_name(name)) || (depth == 0 && !name.is_empty()) {
        return None;
    }
    let mut node = Node::unread(name);
    if let Some(index) = usize::try_from(from.number()?).ok()?.checked_sub(1) {
        let (device, mount) = *mounts.get(index)?;
        node.seen = Seen {
            device,
            inode: from.number()?,
            changed: (from.signed()?, u32::try_from(from.number()?).ok()?),
            mount,
        };
        node.certain = true;
        node.is_settled = true;
        node.found = read_found(from)?;
        node.names = read_found(from)?;
        for _ in 0..from.length()? {
            node.live.push(read_live(from)?);
        }
    }
    let children = from.length()?;
    node.children.reserve(children);
    for _ in 0..children {
        node.children
            .push(read_node(from, mounts, depth + 1, count)?);
    }
    Some(node)
}

fn found(to: &mut Writer, all: &[Found]) {
    to.number(all.len() as u64);
    for one in all {
        to.bytes(&one.path);
        to.number(tag(one.what).unwrap_or_default());
        to.number(one.identity.0);
        to.number(one.identity.1);
    }
}

fn read_found(from: &mut Reader<'_>) -> Option<Vec<Found>> {
    let mut all = Vec::new();
    for _ in 0..from.length()? {
        all.push(Found {
            path: Some(from.bytes()?).filter(|path| is_name(path))?.to_vec(),
            what: what(from.number()?)?,
            identity: (from.number()?, from.number()?),
        });
    }
    Some(all)
}

/// Whether it can be the name of an entry, and so leads nowhere else.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn live(to: &mut Writer, live: &Live) {
    match live {
        Live::Repository => to.number(0),
        Live::Git(Kind::Directory) => to.number(1),
        Live::Git(Kind::File) => to.number(2),
        Live::Git(Kind::Link) => to.number(3),
        Live::Git(Kind::Socket | Kind::Other) => to.number(4),
        Live::Link(name, what) => {
            to.number(5);
            to.bytes(name);
            to.number(tag(*what).unwrap_or_default());
        }
    }
}

fn read_live(from: &mut Reader<'_>) -> Option<Live> {
    Some(match from.number()? {
        0 => Live::Repository,
        1 => Live::Git(Kind::Directory),
        2 => Live::Git(Kind::File),
        3 => Live::Git(Kind::Link),
        4 => Live::Git(Kind::Other),
        5 => {
            let name = Some(from.bytes()?).filter(|name| is_name(name))?;
            Live::Link(name.to_vec(), what(from.number()?)?)
        }
        _ => return None,
    })
}

/// The number of what stands in a directory by its name alone; `None` for what does not. The first is what a
/// link of a secret name becomes.
fn tag(what: What) -> Option<u64> {
    match what {
        What::Cover(How::Hide) => Some(0),
        What::Cover(How::HideDirectory) => Some(1),
        What::Socket => Some(2),
        What::Cover(How::Pin | How::ReadOnly)
        | What::Missing
        | What::Repository
        | What::Kept { .. } => None,
    }
}

fn what(tag: u64) -> Option<What> {
    [
        What::Cover(How::Hide),
        What::Cover(How::HideDirectory),
        What::Socket,
    ]
    .get(usize::try_from(tag).ok()?)
    .copied()
}
