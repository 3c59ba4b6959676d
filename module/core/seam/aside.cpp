// SPDX-License-Identifier: GPL-2.0 OR MIT
//
// The seam's entries for what clients have set aside: quarry_core_aside_*. Nothing is decided
// here: C types to the core's and back.
#include "../platform/kernel.hpp"
#include "../pool/reserves.hpp"

using namespace quarry;

namespace {

using Aside = ReserveCalls<KernelPlatform>;

Aside aside_of(quarry_core_client* client) {
    auto& c = *reinterpret_cast<Client<KernelPlatform>*>(client);
    return Aside(*static_cast<Pool<KernelPlatform>*>(c.pool()), c);
}

}  // namespace

extern "C" {

int quarry_core_aside_left(quarry_core_client* client, uint64_t size, uint64_t align,
                           uint32_t* left) {
    Aside aside = aside_of(client);
    const auto key = aside.key_of(size, align);
    *left = key ? aside.left(*key) : 0;
    return to_seam(key.error());
}

int quarry_core_aside_prepare(quarry_core_client* client, uint64_t size, uint64_t align,
                              uint32_t more) {
    Aside aside = aside_of(client);
    const auto key = aside.key_of(size, align);
    return to_seam(key ? aside.prepare(*key, more) : key.error());
}

void quarry_core_aside_put(quarry_core_client* client, uint64_t size, uint64_t align,
                           const uint64_t* offsets, uint32_t count) {
    Aside aside = aside_of(client);
    aside.put(*aside.key_of(size, align), offsets, count);
}

uint32_t quarry_core_aside_draw(quarry_core_client* client, uint64_t size, uint64_t align,
                                uint32_t count, uint64_t* offsets) {
    Aside aside = aside_of(client);
    const auto key = aside.key_of(size, align);
    return key ? aside.draw(*key, offsets, count) : 0;
}

uint32_t quarry_core_aside_lower(quarry_core_client* client, uint64_t size, uint64_t align,
                                 uint32_t keep) {
    Aside aside = aside_of(client);
    return aside.lower(*aside.key_of(size, align), keep);
}

}  // extern "C"
