//! Golden sentences, and whether another owner of an address is really found.

use std::net::{SocketAddr, TcpListener, TcpStream};

use super::*;
use crate::config::{Bind, ListenerKind, ListenerSettings};

fn facts() -> Facts {
    Facts {
        rings: Ok(RingAbilities {
            no_sqarray: true,
            missing: Vec::new(),
        }),
        kernel: "6.18.0".to_owned(),
        uring_switch: Some(0),
        limits: Limits {
            descriptors: 20_000,
            locked_memory_bytes: 8 << 20,
            may_lock_all: false,
        },
    }
}

fn listener(bind: SocketAddr) -> Listener {
    Listener {
        kind: ListenerKind::Tcp,
        name: "default".to_owned(),
        bind: Bind::Ip(bind),
        settings: ListenerSettings::default(),
        mode: 0,
        websocket: None,
        tls: None,
    }
}

#[test]
fn io_uring_that_is_missing_or_forbidden() {
    let said = |error: i32, switch: Option<u32>| {
        let facts = Facts {
            rings: Err(error),
            uring_switch: switch,
            ..facts()
        };
        check_uring(&facts).unwrap_err()
    };
    assert_eq!(
        said(libc::ENOSYS, None),
        "this kernel (6.18.0) has no io_uring; run Linux 6.8 or newer"
    );
    assert_eq!(
        said(libc::EPERM, Some(2)),
        "io_uring is switched off (kernel.io_uring_disabled is 2); allow it with `sysctl \
         kernel.io_uring_disabled=0`"
    );
    assert!(said(libc::EPERM, Some(0)).contains("seccomp"));
    assert!(said(libc::EPERM, None).contains("seccomp"));
    assert!(said(libc::ENOMEM, None).contains("ulimit -l"));
    assert!(said(libc::EINVAL, None).contains("Invalid argument"));
    assert!(check_uring(&facts()).is_ok());
}

#[test]
fn operations_that_are_missing_are_named() {
    let mut facts = facts();
    assert!(check_abilities(&facts).is_ok());
    facts.kernel = "6.1.0".to_owned();
    facts.rings = Ok(RingAbilities {
        no_sqarray: false,
        missing: vec!["READ_MULTISHOT", "DEFER_TASKRUN"],
    });
    assert_eq!(
        check_abilities(&facts).unwrap_err(),
        "the io_uring of this kernel (6.1.0) lacks READ_MULTISHOT, DEFER_TASKRUN; run Linux 6.8 or \
         newer"
    );
}

#[test]
fn locked_memory_counts_by_core_unless_privileged() {
    let mut limits = facts().limits;
    assert!(check_locked_memory(&limits, 36).is_ok());
    assert_eq!(
        check_locked_memory(&limits, 54).unwrap_err(),
        "54 cores need 12096 KiB of locked memory, but the limit is 8192 KiB; raise it (`ulimit -l`, \
         systemd: LimitMEMLOCK=, Docker: --ulimit memlock=), or use fewer cores"
    );
    limits.may_lock_all = true;
    assert!(check_locked_memory(&limits, 54).is_ok());
    limits.locked_memory_bytes = 64 << 10;
    assert!(check_locked_memory(&limits, 1).is_err());
    limits.locked_memory_bytes = u64::MAX;
    assert!(check_locked_memory(&limits, 62).is_ok());
}

#[test]
fn descriptors_count_by_core() {
    let mut limits = facts().limits;
    limits.descriptors = 64 + 16 * 8;
    assert!(check_descriptors(&limits, 8).is_ok());
    assert_eq!(
        check_descriptors(&limits, 9).unwrap_err(),
        "9 cores need 208 open files, but the limit is 192; raise it (`ulimit -n`, systemd: \
         LimitNOFILE=, Docker: --ulimit nofile=), or use fewer cores"
    );
    assert!(check_tables(&limits, 192).is_ok());
    assert!(check_tables(&limits, 193).is_err());
}

#[test]
fn an_address_in_use_is_found() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    assert_eq!(
        check_address(&listener(address)).unwrap_err(),
        format!(
            "the address {address} of tcp:default is in use by another process; stop that, or \
             choose another address with --listen"
        )
    );
    let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
    assert!(check_address(&listener(everywhere)).is_err());
    drop(owner);
    assert!(check_address(&listener(address)).is_ok());
}

/// Another broker shares its port among its cores; it must be found all the same.
#[test]
fn an_owner_that_shares_its_port_is_found() {
    for host in ["127.0.0.1", "0.0.0.0", "[::]"] {
        let Ok(owner) = crate::boot::sys::listen_shared(format!("{host}:0").parse().unwrap())
        else {
            assert_eq!(host, "[::]", "only IPv6 may be missing here");
            continue;
        };
        let port = owner.local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(check_address(&listener(address)).is_err(), "{host}");
        drop(owner);
        assert!(check_address(&listener(address)).is_ok(), "{host}");
    }
}

/// What a broker that ran before left in TIME_WAIT is no owner.
#[test]
fn closed_connections_are_no_owner() {
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let (served, _) = owner.accept().unwrap();
    drop(owner);
    drop(served); // The side that closes first waits.
    drop(client);
    assert_eq!(
        check_address(&listener(address)),
        Ok(format!("the address {address} of tcp:default is free"))
    );
}

#[test]
fn addresses_of_others_and_port_0() {
    let elsewhere = "192.0.2.1:1883".parse().unwrap();
    let said = check_address(&listener(elsewhere)).unwrap_err();
    assert!(said.contains("is not an address of this machine"), "{said}");
    assert!(check_address(&listener("127.0.0.1:0".parse().unwrap())).is_ok());
    assert!(check_address(&listener("127.0.0.1:0".parse().unwrap())).is_ok());
}
