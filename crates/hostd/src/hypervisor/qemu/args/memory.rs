//! QEMU's options for memory.

use chv_domain::spec::{Hotplug, HotplugMethod, MemorySpec, MemoryZone};
use serde_json::{Value, json};

/// The size of a module of memory that can be added, in MiB.
const MODULE_MIB: u32 = 128;

/// The most modules that a machine has room for.
const MOST_MODULES: u32 = 255;

/// What QEMU calls the device that gives memory and takes it back.
pub(in crate::hypervisor::qemu) const DEVICE: &str = "more";

/// How many bytes are left of memory of which the guest is to give some back.
pub(in crate::hypervisor::qemu) fn after_balloon(memory: &MemorySpec) -> Option<u64> {
    let back = memory.balloon.as_ref()?.size?;
    Some(memory.size.bytes() - back.bytes())
}

/// What is added to `-machine`.
pub(super) fn machine(memory: &MemorySpec) -> String {
    let merge = if memory.mergeable { "on" } else { "off" };
    match is_plain(memory) || !memory.zones.is_empty() {
        true => format!(",mem-merge={merge}"),
        false => format!(",mem-merge={merge},memory-backend=ram"),
    }
}

/// The options that make the memory, and its devices; there is room for so much persistent memory.
pub(super) fn options(memory: &MemorySpec, pmem_mib: u64) -> Vec<(&'static str, String)> {
    let mut options = vec![("-m", size(memory, pmem_mib))];
    for (node, zone) in memory.zones.iter().enumerate() {
        options.extend(numa_node(node, zone, memory));
    }
    if memory.zones.is_empty() && !is_plain(memory) {
        options.push(("-object", backend("ram", memory.size.mib(), memory).words()));
    }
    if let Some(Hotplug {
        size,
        method: HotplugMethod::VirtioMem,
    }) = &memory.hotplug
    {
        let later = MemorySpec {
            // What may never be asked for is not taken at the start.
            prefault: false,
            ..memory.clone()
        };
        options.push((
            "-object",
            format!("{},reserve=off", backend("more", size.mib(), &later).words()),
        ));
        options.push((
            "-device",
            format!("virtio-mem-pci,id={DEVICE},memdev=more,requested-size=0"),
        ));
    }
    if let Some(balloon) = &memory.balloon {
        options.push((
            "-device",
            format!(
                "virtio-balloon-pci,id=balloon,deflate-on-oom={},free-page-reporting={}",
                switch(balloon.deflate_on_oom),
                switch(balloon.free_page_reporting)
            ),
        ));
    }
    options
}

/// Whether it needs nothing that QEMU's own memory has not.
fn is_plain(memory: &MemorySpec) -> bool {
    memory.hugepages.is_none() && !memory.shared && !memory.prefault
}

/// A NUMA node of the guest's.
fn numa_node(node: usize, zone: &MemoryZone, memory: &MemorySpec) -> [(&'static str, String); 2] {
    let id = format!("zone-{node}");
    let mut object = backend(&id, zone.size.mib(), memory).words();
    if let Some(host_node) = zone.host_node {
        object.push_str(&format!(",host-nodes={host_node},policy=bind"));
    }
    let cpus: String = zone.cpus.iter().map(|cpu| format!(",cpus={cpu}")).collect();
    [
        ("-object", object),
        ("-numa", format!("node,nodeid={node}{cpus},memdev={id}")),
    ]
}

fn size(memory: &MemorySpec, pmem_mib: u64) -> String {
    let size = memory.size.mib();
    match &memory.hotplug {
        None if pmem_mib == 0 => format!("{size}M"),
        None => format!("{size}M,maxmem={}M", u64::from(size) + pmem_mib),
        Some(hotplug) => {
            let most = u64::from(size) + u64::from(hotplug.size.mib()) + pmem_mib;
            match hotplug.method {
                HotplugMethod::Acpi => {
                    let slots = (hotplug.size.mib() / MODULE_MIB).min(MOST_MODULES);
                    format!("{size}M,slots={slots},maxmem={most}M")
                }
                HotplugMethod::VirtioMem => format!("{size}M,maxmem={most}M"),
            }
        }
    }
}

/// Where memory comes from.
pub(in crate::hypervisor::qemu) struct Backend<'a> {
    id: &'a str,
    mib: u32,
    memory: &'a MemorySpec,
}

/// A part of `memory` of so many MiB, called `id`.
pub(in crate::hypervisor::qemu) const fn backend<'a>(
    id: &'a str,
    mib: u32,
    memory: &'a MemorySpec,
) -> Backend<'a> {
    Backend { id, mib, memory }
}

impl Backend<'_> {
    /// The value of `-object`.
    fn words(&self) -> String {
        let Self { id, mib, memory } = self;
        let mut words = format!(
            "memory-backend-memfd,id={id},size={mib}M,share={},merge={},prealloc={}",
            switch(memory.shared),
            switch(memory.mergeable),
            switch(memory.prefault)
        );
        if let Some(pages) = memory.hugepages {
            words.push_str(&format!(",hugetlb=on,hugetlbsize={}M", pages.mib()));
        }
        words
    }

    /// The arguments of `object-add`.
    pub(in crate::hypervisor::qemu) fn json(&self) -> Value {
        let Self { id, mib, memory } = self;
        let mut json = json!({
            "qom-type": "memory-backend-memfd", "id": id, "size": u64::from(*mib) << 20,
            "share": memory.shared, "merge": memory.mergeable, "prealloc": memory.prefault,
        });
        if let Some(pages) = memory.hugepages {
            json["hugetlb"] = true.into();
            json["hugetlbsize"] = (u64::from(pages.mib()) << 20).into();
        }
        json
    }
}

const fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
