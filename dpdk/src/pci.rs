//! PCI devices as the kernel shows them: whether one is there, and who has it.

use std::fs;
use std::path::{Path, PathBuf};

use sekisho_types::PciAddress;

const SYS: &str = "/sys/bus/pci/devices";
const VFIO: &str = "/dev/vfio";

/// Drivers of the kernel that leave a device to whoever opens it.
const FOR_ANYBODY: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
/// Drivers of the kernel that share a device with DPDK.
const SHARING: [&str; 3] = ["mlx5_core", "mlx4_core", "mana"];

/// Why a PCI device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// There is none.
    #[error("there is no PCI device {0}; `dpdk-devbind.py --status-dev net` lists the NICs")]
    Absent(PciAddress),
    /// Nobody has it.
    #[error(
        "PCI device {0} is bound to no driver; bind it with \
        `dpdk-devbind.py --bind=vfio-pci {0}`"
    )]
    Unbound(PciAddress),
    /// The kernel has it.
    #[error(
        "PCI device {address} is the kernel's (driver {driver}); hand it over with \
        `dpdk-devbind.py --bind=vfio-pci {address}`, which takes its interface away from the kernel"
    )]
    Kernel {
        /// The device.
        address: PciAddress,
        /// The kernel's driver.
        driver: String,
    },
    /// It reads and writes memory by physical addresses, which ordinary pages do not keep.
    #[error(
        "PCI device {address} works without an IOMMU (driver {driver}) and so needs hugepages; \
        reserve them in /proc/sys/vm/nr_hugepages, or turn the IOMMU on and bind it to vfio-pci"
    )]
    NeedsHugePages {
        /// The device.
        address: PciAddress,
        /// The kernel's driver.
        driver: String,
    },
    /// EAL did not make a port of it.
    #[error(
        "no driver of DPDK takes PCI device {address} ({reason}); its reason is on the standard \
        error output"
    )]
    NoDriver {
        /// The device.
        address: PciAddress,
        /// What DPDK says.
        reason: String,
    },
    /// EAL was not told of it.
    #[error("PCI device {0} was not named when EAL started; add it to its PCI devices")]
    NotAllowed(PciAddress),
}

/// The NUMA node a PCI device is near to, if the machine has several.
pub fn numa_node(address: PciAddress) -> Option<u16> {
    let text = fs::read_to_string(device(Path::new(SYS), address).join("numa_node")).ok()?;
    // -1 means none.
    text.trim().parse().ok()
}

/// Checks that DPDK can have the device, with or without huge pages.
pub(crate) fn check(address: PciAddress, huge_pages: bool) -> Result<(), PciError> {
    check_in(Path::new(SYS), Path::new(VFIO), address, huge_pages)
}

fn check_in(
    sys: &Path,
    vfio: &Path,
    address: PciAddress,
    huge_pages: bool,
) -> Result<(), PciError> {
    let device = device(sys, address);
    if !device.exists() {
        return Err(PciError::Absent(address));
    }
    let driver = name_of_link(&device.join("driver")).ok_or(PciError::Unbound(address))?;
    let name = driver.as_str();
    if SHARING.contains(&name) {
        return Ok(());
    }
    if !FOR_ANYBODY.contains(&name) {
        return Err(PciError::Kernel { address, driver });
    }
    let translated = name == "vfio-pci" && has_iommu(&device, vfio);
    if !(huge_pages || translated) {
        return Err(PciError::NeedsHugePages { address, driver });
    }
    Ok(())
}

fn device(sys: &Path, address: PciAddress) -> PathBuf {
    sys.join(address.to_string())
}

/// Whether an IOMMU stands between the device and the memory.
fn has_iommu(device: &Path, vfio: &Path) -> bool {
    name_of_link(&device.join("iommu_group"))
        .is_some_and(|group| !vfio.join(format!("noiommu-{group}")).exists())
}

fn name_of_link(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ADDRESS: &str = "0000:00:05.0";

    /// A machine with one device, bound to `driver`, in IOMMU group 7 if it has an IOMMU.
    fn machine(driver: Option<&str>, iommu: bool) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let device = root.path().join(ADDRESS);
        fs::create_dir(&device).unwrap();
        if let Some(driver) = driver {
            symlink(format!("../drivers/{driver}"), device.join("driver")).unwrap();
        }
        if iommu {
            symlink("../iommu_groups/7", device.join("iommu_group")).unwrap();
        }
        root
    }

    fn check_on(root: &tempfile::TempDir, huge_pages: bool) -> Result<(), String> {
        let address = ADDRESS.parse().unwrap();
        check_in(root.path(), root.path(), address, huge_pages).map_err(|e| e.to_string())
    }

    #[test]
    fn a_device_of_the_kernel_is_refused_with_the_command_that_frees_it() {
        let error = check_on(&machine(Some("virtio-pci"), false), true).unwrap_err();
        assert_eq!(
            error,
            "PCI device 0000:00:05.0 is the kernel's (driver virtio-pci); hand it over with \
             `dpdk-devbind.py --bind=vfio-pci 0000:00:05.0`, which takes its interface away from \
             the kernel"
        );
        let error = check_on(&machine(None, false), true).unwrap_err();
        assert!(error.contains("bound to no driver"), "{error}");
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = check("ffff:ff:1f.7".parse().unwrap(), true).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("there is no PCI device ffff:ff:1f.7"),
            "{error}"
        );
    }

    #[test]
    fn without_an_iommu_a_device_needs_huge_pages() {
        let uio = machine(Some("uio_pci_generic"), false);
        let error = check_on(&uio, false).unwrap_err();
        assert!(error.contains("needs hugepages"), "{error}");
        assert_eq!(check_on(&uio, true), Ok(()));

        let vfio = machine(Some("vfio-pci"), true);
        assert_eq!(check_on(&vfio, false), Ok(()));
        fs::write(vfio.path().join("noiommu-7"), "").unwrap();
        assert!(check_on(&vfio, false).is_err());
    }

    #[test]
    fn a_device_the_kernel_shares_needs_no_binding() {
        assert_eq!(check_on(&machine(Some("mlx5_core"), true), true), Ok(()));
    }
}
