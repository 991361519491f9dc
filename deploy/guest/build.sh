#!/usr/bin/env bash
# Builds the guest in target/guest: vmlinuz, vmlinux (the same kernel uncompressed) and initramfs.cpio. And machine.cpio,
# the initramfs of the machines in which tests run a replica, and box.cpio, that of those in which they run a host.
#
# The kernel is Debian's cloud kernel, unpacked and not installed. Run again, it downloads and builds nothing; a newer
# kernel is taken only after target/guest/kernel was deleted. Needs Rust, apt-get and dpkg-deb, and no root.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
guest=$PWD/target/guest
kernel=$guest/kernel
triple=x86_64-unknown-linux-gnu

say() { printf 'guest: %s\n' "$*"; }
fail() {
    printf 'guest: %s\n' "$*" >&2
    exit 1
}

# Prints the name of the package that linux-image-cloud-amd64 stands for.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1
}

fetch_kernel() {
    local package download
    package=$(kernel_package)
    if [[ -z $package ]]; then
        fail "apt knows no linux-image-cloud-amd64; run 'apt-get update' as root, on Debian, and try again"
    fi
    download=$(mktemp -d "$guest/download.XXXXXX")
    # shellcheck disable=SC2064 # the directory's name is known now
    trap "rm -rf '$download'" EXIT
    # apt gives up root for the download, so its own user must be able to write there.
    chmod 0755 "$guest"
    if [[ $EUID -eq 0 ]] && id _apt >/dev/null 2>&1; then
        chown _apt "$download"
    fi
    say "downloading $package"
    (cd "$download" && apt-get download -q "$package") ||
        fail "can't download $package; if it is said to be missing, run 'apt-get update' as root and try again"
    say "unpacking $package"
    dpkg-deb -x "$download"/*.deb "$download/kernel"
    # Later Debian compresses its modules; the guest takes them as they are, so they are unpacked here.
    find "$download/kernel" -name '*.ko.xz' -exec xz -d {} +
    # Moved into place whole, so that an interrupted run leaves nothing that looks finished.
    chmod 0755 "$download/kernel"
    mv "$download/kernel" "$kernel"
    rm -rf "$download"
    trap - EXIT
}

mkdir -p "$guest"
if [[ ! -d $kernel ]]; then
    fetch_kernel
fi

version=$(basename "$(find "$kernel/lib/modules" -mindepth 1 -maxdepth 1 -type d | sort -V | tail -n 1)")
packed=$kernel/boot/vmlinuz-$version
[[ -f $packed ]] || fail "$kernel holds no kernel; delete it and run this again"

say "building chv-uos and chv-e2e-machine"
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --quiet -p chv-uos -p chv-e2e-machine --profile uos --target "$triple"
built=target/$triple/uos

if ! cmp -s "$packed" "$guest/vmlinuz"; then
    cp "$packed" "$guest/vmlinuz.new"
    mv "$guest/vmlinuz.new" "$guest/vmlinuz"
    rm -f "$guest/vmlinux"
    say "kernel $version"
fi
if [[ ! -f $guest/vmlinux ]]; then
    # Without it, guests boot from vmlinuz, a little later.
    "$built/chv-initramfs" kernel --vmlinuz "$guest/vmlinuz" --output "$guest/vmlinux" ||
        say "going on without an uncompressed kernel"
fi
"$built/chv-initramfs" pack --init "$built/chv-uos" --modules "$kernel/lib/modules/$version" \
    --output "$guest/initramfs.cpio"
"$built/chv-initramfs" pack --init "$built/chv-e2e-machine" --modules "$kernel/lib/modules/$version" \
    --module crc32c_generic --module ext4 --module dm-flakey --output "$guest/machine.cpio"
"$built/chv-initramfs" pack --init "$built/chv-e2e-machine" --modules "$kernel/lib/modules/$version" \
    --module crc32c_generic --module ext4 --module kvm-amd --module tun --output "$guest/box.cpio"
say "ready: vmlinuz, vmlinux, initramfs.cpio, machine.cpio and box.cpio in $guest (kernel $version)"
