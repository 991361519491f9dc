//! A device that a guest sees, as QEMU takes it: as words on its command line, or as JSON over QMP while it runs.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// A device and its properties.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::hypervisor::qemu) struct Device(Map<String, Value>);

impl Device {
    pub(super) fn new(driver: &'static str) -> Self {
        Self(Map::new()).with(DRIVER, driver)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The device where it reaches the guest's memory by way of the guest's IOMMU.
    pub(super) fn behind_iommu(self, behind: bool) -> Self {
        match behind {
            true => self.with("iommu_platform", true).with("disable-legacy", "on"),
            false => self,
        }
    }

    /// The value of `-device`, on the bus `bus`.
    pub(super) fn words(self, bus: &str) -> String {
        words(DRIVER, &self.json(bus))
    }

    /// The arguments of `device_add`, on the bus `bus`.
    pub(in crate::hypervisor::qemu) fn json(self, bus: &str) -> Value {
        let mut json = self.0;
        json.insert("bus".to_owned(), bus.into());
        Value::Object(json)
    }
}

const DRIVER: &str = "driver";

/// An object as QEMU reads it on its command line: the value of `first`, then the other fields. No value has a comma in it.
pub(super) fn words(first: &str, object: &Value) -> String {
    let mut words = object[first].as_str().unwrap_or_default().to_owned();
    let fields = object.as_object().into_iter().flatten();
    for (name, value) in fields.filter(|(name, _)| *name != first) {
        let value = match value {
            Value::Bool(true) => "on".to_owned(),
            Value::Bool(false) => "off".to_owned(),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        write!(words, ",{name}={value}").expect("a text takes every text");
    }
    words
}
