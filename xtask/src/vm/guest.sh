#!/bin/busybox sh
# The first process of the virtual machine: binds the NICs, runs the gateway, and answers questions
# that come in over the serial line. $MODULES and $NICS are on the kernel's command line.

/bin/busybox mkdir -p /proc /sys /dev /run/sekisho /tmp /sbin /usr/sbin
/bin/busybox --install -s /bin
# EAL loads no drivers from below a folder that everybody may write to.
chmod 755 /
mkdir -p /var
ln -s /run /var/run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo

# The end of everything, whatever happens.
fail() {
    echo "guest: failed: $*"
    poweroff -f
}

echo 96 >/proc/sys/vm/nr_hugepages
for module in uio uio_pci_generic tun; do
    insmod "/modules/$module.ko" || fail "insmod $module"
done
for address in $(cat /etc/sekisho/nics); do
    device=/sys/bus/pci/devices/$address
    [ -e "$device" ] || fail "no PCI device $address"
    echo uio_pci_generic >"$device/driver_override"
    echo "$address" >/sys/bus/pci/drivers_probe
    echo "guest: $address is bound to $(basename "$(readlink "$device/driver")")"
done
ip link set lo up

echo "guest: DPDK gets the hugepages: $(grep HugePages_Free /proc/meminfo)"
RUST_BACKTRACE=1 sekishod --config /etc/sekisho/sekisho.toml 2>/run/sekishod.log &
gateway=$!
until sekisho show status 2>/dev/null; do
    [ -d "/proc/$gateway" ] || {
        cat /run/sekishod.log
        fail "sekishod ended"
    }
    sleep 0.2
done
echo "guest: ready"

while read -r line; do
    case $line in
        log) cat /run/sekishod.log ;;
        end)
            kill $gateway
            wait $gateway
            echo "guest: sekishod ended with $?"
            poweroff -f
            ;;
        *) sekisho $line ;;
    esac
    echo "guest: answered"
done
