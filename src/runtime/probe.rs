//! What the kernel's io_uring can do, found out by trying.
//!
//! One small ring is set up with the flags the connection plane uses, asked for its operations, and
//! given what the plane registers (a table of direct descriptors, a ring of provided buffers). Flags
//! of operations cannot be asked for, but each one the plane needs is older than an operation it
//! needs as well: multishot read (Linux 6.7) came after multishot accept, poll and cancel by user
//! data.
#![allow(unsafe_code)] // registering a buffer ring hands the kernel an address

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;

use io_uring::register::Probe;
use io_uring::{Builder, IoUring, opcode};

/// Entries of the ring that is tried.
const ENTRIES: u32 = 8;

/// The alignment of a ring of provided buffers: a page.
const PAGE_BYTES: usize = 4096;

/// The operations the connection plane submits.
const OPERATIONS: &[(&str, u8)] = &[
    ("ACCEPT", opcode::AcceptMulti::CODE),
    ("RECV", opcode::Recv::CODE),
    ("READ_MULTISHOT", opcode::ReadMulti::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("FILES_UPDATE", opcode::FilesUpdate::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
    ("MSG_RING", opcode::MsgRingData::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
];

/// What a ring on this machine can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingAbilities {
    /// Whether the ring does without the indirection array of its submission queue (since 6.6). The
    /// plane runs with or without.
    pub no_sqarray: bool,
    /// What the plane needs and the kernel lacks, by name.
    pub missing: Vec<&'static str>,
}

/// The abilities, or the error of setting up any ring at all.
pub fn ring_abilities() -> io::Result<RingAbilities> {
    // A bare ring first: its error says whether io_uring may be used at all.
    let bare = IoUring::new(ENTRIES)?;
    let mut missing = missing_flags();
    let no_sqarray = missing.is_empty() && plane_ring(true).is_ok();
    let mut probe = Probe::new();
    bare.submitter().register_probe(&mut probe)?;
    let lacking = OPERATIONS
        .iter()
        .filter(|(_, code)| !probe.is_supported(*code));
    missing.extend(lacking.map(|(name, _)| *name));
    if bare.submitter().register_files_sparse(ENTRIES).is_err() {
        missing.push("direct descriptors");
    }
    if !takes_buffer_ring(&bare) {
        missing.push("rings of provided buffers");
    }
    Ok(RingAbilities {
        no_sqarray,
        missing,
    })
}

/// A ring with the flags of the connection plane.
fn plane_ring(no_sqarray: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_submit_all()
        .setup_coop_taskrun()
        .setup_single_issuer()
        .setup_defer_taskrun();
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(ENTRIES)
}

/// The set-up flags the kernel refuses, tried one by one only if all together fail.
fn missing_flags() -> Vec<&'static str> {
    if plane_ring(false).is_ok() {
        return Vec::new();
    }
    let taken = |flag: fn(&mut Builder) -> &mut Builder| {
        let mut builder = IoUring::builder();
        flag(&mut builder).build(ENTRIES).is_ok()
    };
    let tried = [
        ("SUBMIT_ALL", taken(Builder::setup_submit_all)),
        ("COOP_TASKRUN", taken(Builder::setup_coop_taskrun)),
        ("SINGLE_ISSUER", taken(Builder::setup_single_issuer)),
        // The kernel takes it together with SINGLE_ISSUER only.
        (
            "DEFER_TASKRUN",
            taken(|b| b.setup_single_issuer().setup_defer_taskrun()),
        ),
    ];
    let refused: Vec<&'static str> = tried
        .iter()
        .filter(|(_, taken)| !taken)
        .map(|(name, _)| *name)
        .collect();
    if refused.is_empty() {
        vec!["the set-up flags together"]
    } else {
        refused
    }
}

/// Whether a ring of provided buffers can be registered.
fn takes_buffer_ring(ring: &IoUring) -> bool {
    const BUFFERS: u16 = 8;
    let Ok(layout) = Layout::from_size_align(PAGE_BYTES, PAGE_BYTES) else {
        return false;
    };
    // SAFETY: the layout's size is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() {
        return false;
    }
    // SAFETY: the memory holds more than `BUFFERS` entries of 16 bytes, and lives until the group
    // was unregistered below; when that fails it is leaked, not freed.
    let registered = unsafe {
        ring.submitter()
            .register_buf_ring_with_flags(memory as u64, BUFFERS, 0, 0)
    };
    if registered.is_ok() && ring.submitter().unregister_buf_ring(0).is_err() {
        return true;
    }
    // SAFETY: allocated above with this layout; the kernel does not know it (any more).
    unsafe { dealloc(memory, layout) };
    registered.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machines this project is built on have what it needs; the point of the test is that
    /// every step of the probe runs.
    #[test]
    fn this_kernel_is_probed() {
        match ring_abilities() {
            Ok(abilities) => assert_eq!(abilities.missing, Vec::<&str>::new()),
            Err(error) => {
                let kind = error.raw_os_error();
                assert!(matches!(kind, Some(libc::ENOSYS | libc::EPERM)), "{error}");
            }
        }
    }
}
