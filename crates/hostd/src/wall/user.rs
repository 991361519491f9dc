//! Becomes a user that owns nothing but one VM's directory, for good.

use std::io;

use rustix::process::{Gid, Resource, Rlimit, Uid, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// More capabilities than any kernel has.
const CAPABILITIES: u32 = 64;

/// Makes this process, which must have one thread, that of `user` and of the group of the same number: of no other
/// group, without any capability, and without a way to any.
pub(super) fn become_user(user: u32) -> io::Result<()> {
    // A guest's memory may be locked for devices; how much it may have is its cgroup's business. Where that may not be
    // raised, a hypervisor that needs it says so.
    let _ = setrlimit(
        Resource::Memlock,
        Rlimit {
            current: None,
            maximum: None,
        },
    );
    for capability in 0..CAPABILITIES {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability)) {
            // The kernel has no more of them.
            Err(rustix::io::Errno::INVAL) => break,
            done => done?,
        }
    }
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    // The kernel takes the capabilities with the user.
    set_thread_res_uid(uid, uid, uid)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(set_no_new_privs(true)?)
}
