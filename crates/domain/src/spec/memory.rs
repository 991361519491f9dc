//! A VM's memory.

use super::choice::choice;
use super::fields::{ReadShort, Rules, spec};
use super::part::{CLOUD_HYPERVISOR, FULL, Fault, Part};
use super::zone::MemoryZone;
use crate::units::Memory;

spec! {
    /// A VM's memory. An amount alone, as in `memory: 512MiB`, is that much and nothing else.
    pub struct MemorySpec {
        required {
            /// How much the guest boots with.
            size: Memory;
        }
        optional {
            /// How much it can be given while it runs, beyond `size`.
            hotplug: Option<Hotplug> = "none", on(FULL);
            /// The size of the host's huge pages that it is made of. The host must have set as many aside.
            hugepages: Option<HugePages> = "the host's usual pages", on(FULL);
            /// Whether other processes may map it, as virtio-fs and vhost-user ask for.
            shared: bool = "false", on(FULL);
            /// Whether the host may merge equal pages of several VMs.
            mergeable: bool = "false", on(FULL);
            /// Whether all of it is taken from the host at the start. It takes longer, and can't fail later.
            prefault: bool = "false", on(FULL);
            /// Whether the host may make huge pages of it by itself.
            transparent_hugepages: Option<bool> = "as the host is set", on(CLOUD_HYPERVISOR);
            /// A device by which the guest gives memory back.
            balloon: Option<Balloon> = "none", on(FULL);
            /// The guest's NUMA nodes, which its memory is divided into.
            zones: Vec<MemoryZone> = "one, with all of it", on(FULL);
        }
    }
}

spec! {
    /// Memory that can be added while the guest runs.
    pub struct Hotplug {
        required {
            /// How much can be added.
            size: Memory;
        }
        optional {
            /// How the guest is given it.
            method: HotplugMethod = "acpi";
        }
    }
}

spec! {
    /// A device by which the guest gives memory back.
    #[derive(Default)]
    pub struct Balloon {
        optional {
            /// How much of its memory the guest gives back. It can be changed while it runs, and takes the guest a while.
            size: Option<Memory> = "none";
            /// Whether the guest gets it back before its kernel ends a process for want of it.
            deflate_on_oom: bool = "false";
            /// Whether the guest tells the host which pages are free.
            free_page_reporting: bool = "false";
        }
    }
}

choice! {
    /// How memory is added.
    pub enum HotplugMethod or Acpi {
        /// As modules of memory, in steps of 128 MiB.
        Acpi = "acpi",
        /// By a device, in small steps, and back.
        VirtioMem = "virtio-mem",
    }
}

choice! {
    /// A size of huge pages.
    pub enum HugePages {
        /// 2 MiB.
        TwoMiB = "2MiB",
        /// 1 GiB.
        OneGiB = "1GiB",
    }
}

impl HugePages {
    /// The size in MiB.
    pub const fn mib(self) -> u32 {
        match self {
            Self::TwoMiB => 2,
            Self::OneGiB => 1024,
        }
    }
}

impl Part for HotplugMethod {
    fn values() -> String {
        "acpi or virtio-mem".to_owned()
    }
}

impl Part for HugePages {
    fn values() -> String {
        "2MiB or 1GiB".to_owned()
    }
}

impl MemorySpec {
    /// So much memory, and nothing else.
    pub const fn of(size: Memory) -> Self {
        Self {
            size,
            hotplug: None,
            hugepages: None,
            shared: false,
            mergeable: false,
            prefault: false,
            transparent_hugepages: None,
            balloon: None,
            zones: Vec::new(),
        }
    }
}

impl Rules for MemorySpec {
    const SHORT: Option<ReadShort<Self>> = Some(|text| {
        text.parse()
            .map(Self::of)
            .map_err(|error: crate::units::MemoryError| error.to_string())
    });

    fn broken(&self) -> Option<Fault> {
        if let Some(pages) = self.hugepages {
            let whole = |amount: Memory| amount.mib().is_multiple_of(pages.mib());
            if !whole(self.size) {
                return Some(Fault::new(
                    "size",
                    format!("{} is no whole number of {pages} pages", self.size),
                ));
            }
            if let Some(hotplug) = &self.hotplug
                && !whole(hotplug.size)
            {
                let why = format!("{} is no whole number of {pages} pages", hotplug.size);
                return Some(Fault::new("hotplug.size", why));
            }
            if self.mergeable {
                return Some(Fault::new(
                    "mergeable",
                    "huge pages are never merged; take one of the two out",
                ));
            }
        }
        if let Some(Balloon { size: Some(size), .. }) = &self.balloon
            && *size >= self.size
        {
            let why = format!("{size} is all of the {} that it has, or more", self.size);
            return Some(Fault::new("balloon.size", why));
        }
        if !self.zones.is_empty() {
            let sum: u64 = self.zones.iter().map(|zone| u64::from(zone.size.mib())).sum();
            if sum != u64::from(self.size.mib()) {
                let why = format!("{sum}MiB in all zones are not the {} that there are", self.size);
                return Some(Fault::new("zones", why));
            }
            if self.hotplug.is_some() {
                return Some(Fault::new(
                    "hotplug",
                    "goes into no zone; take one of the two out",
                ));
            }
            if let Some(pages) = self.hugepages
                && let Some(index) = self
                    .zones
                    .iter()
                    .position(|zone| !zone.size.mib().is_multiple_of(pages.mib()))
            {
                let why = format!("is no whole number of {pages} pages");
                return Some(Fault::new(&format!("zones[{index}].size"), why));
            }
        }
        match &self.hotplug {
            Some(hotplug) if !hotplug.size.mib().is_multiple_of(128) => Some(Fault::new(
                "hotplug.size",
                format!(
                    "{} is no multiple of 128MiB, in which memory is added",
                    hotplug.size
                ),
            )),
            _ => None,
        }
    }
}

impl Rules for Hotplug {}

impl Rules for Balloon {}
