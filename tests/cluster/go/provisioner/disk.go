package provisioner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// disk creates and removes the directories behind the volumes, all directly below root.
type disk struct{ root string }

// create makes the directory. StorageClass parameters: `medium: tmpfs` mounts a tmpfs of the claim's
// size there, so that a full disk is real; `mode` is the directory's mode in octal (0755, as freshly
// made filesystems of most CSI drivers have it).
func (d disk) create(path string, size int64, parameters map[string]string) error {
	mode := uint64(0o755)
	if text, given := parameters["mode"]; given {
		parsed, err := strconv.ParseUint(text, 8, 12)
		if err != nil {
			return fmt.Errorf("StorageClass parameter mode %q: give an octal number such as 0755", text)
		}
		mode = parsed
	}
	if err := os.Mkdir(path, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	switch medium := parameters["medium"]; medium {
	case "":
	case "tmpfs":
		if err := mountTmpfs(path, size); err != nil {
			return err
		}
	default:
		return fmt.Errorf("StorageClass parameter medium %q: leave it out or give tmpfs", medium)
	}
	return syscall.Chmod(path, uint32(mode)) // not os.Mkdir's mode, which the umask cuts
}

func mountTmpfs(path string, size int64) error {
	mounted, err := isMountPoint(path)
	if err != nil || mounted {
		return err
	}
	if err := syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", path, err)
	}
	return nil
}

func (d disk) remove(path string) error {
	if filepath.Dir(path) != filepath.Clean(d.root) {
		return fmt.Errorf("will not remove %s: it is not directly below %s", path, d.root)
	}
	mounted, err := isMountPoint(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if mounted {
		// The kubelet may hold its bind mount a moment longer than the claim lives; that mount keeps
		// the tmpfs, but not this path, alive.
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return os.RemoveAll(path)
}

// isMountPoint compares devices: every mount the provisioner makes is a filesystem of its own.
func isMountPoint(path string) (bool, error) {
	var here, above syscall.Stat_t
	if err := syscall.Stat(path, &here); err != nil {
		return false, err
	}
	if err := syscall.Stat(filepath.Dir(path), &above); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}
