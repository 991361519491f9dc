//! Where a VM's random numbers come from.

use super::choice::choice;
use super::part::Part;

choice! {
    /// A source of random numbers on the host, which the guest is given by a device.
    pub enum RngSource or Urandom {
        /// The host kernel's, which never waits: /dev/urandom.
        Urandom = "urandom",
        /// The host kernel's: /dev/random.
        Random = "random",
        /// The host's random number generator in hardware: /dev/hwrng.
        Hwrng = "hwrng",
    }
}

impl RngSource {
    /// Its file on the host.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Urandom => "/dev/urandom",
            Self::Random => "/dev/random",
            Self::Hwrng => "/dev/hwrng",
        }
    }
}

impl Part for RngSource {
    fn values() -> String {
        "urandom, random or hwrng, each /dev/ and its name on the host".to_owned()
    }
}
