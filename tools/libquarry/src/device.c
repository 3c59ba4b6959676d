/* SPDX-License-Identifier: MIT */
/* The control descriptor: open, close, INFO. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "../../../module/include/quarry_abi_layout.h"
#include "host.h"
#include "internal.h"

struct quarry_device *quarry_open(const char *path) {
    struct quarry_info info = {.size = sizeof info};
    struct quarry_device *device = quarry_sys->allocate(sizeof *device);

    if (!device)
        return NULL;
    if (path && !strcmp(path, QUARRY_HOST_DEVICE))
        device->fd = quarry_host_open();
    else
        device->fd = quarry_sys->open(path ? path : QUARRY_DEVICE, O_RDWR | O_CLOEXEC);
    if (device->fd < 0) {
        int error = errno;

        quarry_sys->release(device);
        errno = error;
        return NULL;
    }
    if (quarry_request(device->fd, QUARRY_IOC_INFO, &info) < 0)
        goto refused;
    if (info.abi_version != QUARRY_ABI_VERSION) {
        errno = EPROTO;
        goto refused;
    }
    return device;

refused:
    quarry_close(device);
    return NULL;
}

void quarry_close(struct quarry_device *device) {
    int error = errno;

    if (!device)
        return;
    quarry_host_closed(device->fd);
    quarry_sys->close(device->fd);
    quarry_sys->release(device);
    errno = error;
}

int quarry_info_sized(struct quarry_device *device, struct quarry_info *info, size_t info_bytes) {
    memset(info, 0, info_bytes);
    info->size = (uint32_t)info_bytes;
    return quarry_request(device->fd, QUARRY_IOC_INFO, info);
}
