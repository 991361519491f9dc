//! What QEMU does with a guest that is held, and with one that is reset; the fake must do the same.

use super::{Leash, On, ready, soon};
use crate::hypervisor::{AgentChannel, AgentError, Exit, FromGuest, Instance, Status};

/// The boot that the guest says it is in.
async fn boot(channel: &mut AgentChannel) -> String {
    soon("ready", async {
        loop {
            if let FromGuest::Ready(json) = channel.next().await.unwrap() {
                // A line that a reset cut off ends with the next one.
                let Ok(said) = serde_json::from_str::<serde_json::Value>(&json) else {
                    continue;
                };
                return said["boot"].as_str().unwrap().to_owned();
            }
        }
    })
    .await
}

/// Held and let go, each twice; what is said to a held guest is heard when it is let go.
pub(super) async fn is_held_and_let_go(on: &On) {
    let (hypervisor, dir) = (on.hypervisor(), tempfile::tempdir().unwrap());
    let instance = hypervisor.launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    let before = boot(&mut channel).await;

    for _ in 0..2 {
        hypervisor.pause(&instance).await.unwrap();
        assert_eq!(hypervisor.status(&instance).await, Status::Paused);
    }
    // A daemon that is started anew finds it so.
    let found = Instance::find(instance.run_dir.clone()).await.unwrap().unwrap();
    assert_eq!(hypervisor.status(&found).await, Status::Paused);
    drop(channel);
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    let (said, ()) = tokio::join!(boot(&mut channel), async {
        for _ in 0..2 {
            hypervisor.resume(&instance).await.unwrap();
            assert_eq!(hypervisor.status(&instance).await, Status::Running);
        }
    });
    assert_eq!(said, before);
    hypervisor.kill(&instance).await.unwrap();
}

/// A press of its button ends a held guest when it runs again, and not before.
pub(super) async fn a_button_is_heard_when_it_is_let_go(on: &On) {
    let (hypervisor, dir) = (on.hypervisor(), tempfile::tempdir().unwrap());
    let instance = hypervisor.launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    ready(&mut AgentChannel::open(&instance).await.unwrap()).await;

    hypervisor.pause(&instance).await.unwrap();
    hypervisor.press_power_button(&instance).await.unwrap();
    assert_eq!(hypervisor.status(&instance).await, Status::Paused);
    hypervisor.resume(&instance).await.unwrap();
    let exit = soon("gone", hypervisor.exited(&instance)).await.unwrap();
    assert_eq!(exit, Exit::Code(0));
}

/// Reset, running and held: it boots anew in its process, and runs.
pub(super) async fn is_reset_in_place(on: &On) {
    let (hypervisor, dir) = (on.hypervisor(), tempfile::tempdir().unwrap());
    let instance = hypervisor.launch(&on.machine(dir.path())).await.unwrap();
    let _leash = Leash(instance.clone());
    let mut channel = AgentChannel::open(&instance).await.unwrap();
    let mut before = boot(&mut channel).await;
    for held in [false, true] {
        if held {
            hypervisor.pause(&instance).await.unwrap();
        }
        hypervisor.reset(&instance).await.unwrap();
        assert_eq!(hypervisor.status(&instance).await, Status::Running);
        // What it said before its reset may still come.
        let mut now = boot(&mut channel).await;
        while now == before {
            now = boot(&mut channel).await;
        }
        before = now;
    }
    assert_eq!(instance.has_ended().unwrap(), None);
    hypervisor.kill(&instance).await.unwrap();
    soon("the channel's end", async {
        while !matches!(channel.next().await, Err(AgentError::Gone)) {}
    })
    .await;
}
