#!/bin/bash
# SPDX-License-Identifier: MIT
# In the virtual machine: loads the module, runs device.sh, unloads the module.
#   tools/quarryctl/test/guest.sh QUARRY_KO BUILD_TOOLS TRACE...
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ko=$1
shift
status=0
insmod "$ko"
"$here/device.sh" "$@" || status=$?
rmmod quarry
exit "$status"
