//! Hosts in boxes: hypervisors that need KVM, run by a real daemon as a user sees it, and hosts that lose their power.
//!
//! A box needs the hypervisor's program on this machine, in the PATH or named by its variable; `.ci/nextest` leaves out
//! what it has not, by the tests' names.

/// A test for each hypervisor that runs in a box.
macro_rules! in_a_box_with_each {
    ($name:ident, $test:path) => {
        mod $name {
            use chv_domain::HypervisorKind;

            #[tokio::test(flavor = "multi_thread")]
            async fn needs_box_cloud_hypervisor() -> anyhow::Result<()> {
                $test(HypervisorKind::CloudHypervisor).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn needs_box_firecracker() -> anyhow::Result<()> {
                $test(HypervisorKind::Firecracker).await
            }
        }
    };
}

mod drivers;
mod life;
mod power;
