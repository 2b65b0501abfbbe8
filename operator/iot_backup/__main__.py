"""`python -m iot_backup`: the same as `backup-manager`."""

from iot_backup.cli import main

main(prog_name="backup-manager")
