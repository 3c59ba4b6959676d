// SPDX-License-Identifier: MIT
//
// Object caches against new and delete: an object of 64 bytes is made, its first word
// written, and destroyed; one at a time, and a random one of 1000 replaced. The caches' hooks are
// those of the core's object: a slab is made and given back outside what is measured.
#include <sys/mman.h>

#include <cstring>
#include <random>

#include "../../module/core/object/object_cache.hpp"
#include "case.hpp"

namespace {

using bench::die;
using bench::measure;
using bench::touch;

struct Object {
    explicit Object(uint64_t first) : word{first} {}
    uint64_t word[8];
};
static_assert(sizeof(Object) == 64);

template <typename Lock>
struct Cached {
    using Cache = quarry::ObjectCache<Object, Lock>;
    using Box = typename Cache::Box;

    Cached() {
        auto made = Cache::create();
        if (!made) die("no cache");
        cache = *std::move(made);
    }
    ~Cached() {
        quarry::Audit audit;
        cache.verify(audit);
        if (!audit.clean()) die(audit.result().first);
        if (cache.live()) die("objects are left");
    }
    Box make(uint64_t first) {
        auto made = cache.make(first);
        if (!made) [[unlikely]] die("an object could not be made");
        return *std::move(made);
    }
    static void touch(const Box& box) { bench::touch(box.get()); }

    Cache cache;
};

struct Heap {
    struct Box {
        Box() = default;
        explicit Box(Object* object) : object(object) {}
        Box(Box&& other) noexcept : object(std::exchange(other.object, nullptr)) {}
        Box& operator=(Box&& other) noexcept {
            std::swap(object, other.object);
            return *this;
        }
        ~Box() { delete object; }
        Object* object = nullptr;
    };
    Box make(uint64_t first) { return Box(new Object(first)); }
    static void touch(const Box& box) { bench::touch(box.object); }
};

template <typename Maker>
double hot() {
    Maker maker;
    uint64_t n = 0;
    return measure(1, [&] {
        auto box = maker.make(++n);
        Maker::touch(box);
    });
}

// 1000 live, a random one replaced: the old one goes first.
template <typename Maker>
double churn() {
    constexpr uint32_t kLive = 1000;
    Maker maker;
    std::mt19937 generator(1);
    std::vector<uint32_t> victims(1 << 16);
    for (uint32_t& v : victims) v = generator() % kLive;
    std::vector<typename Maker::Box> live(kLive);
    const double ns = measure(victims.size(), [&] {
        for (const uint32_t v : victims) {
            live[v] = typename Maker::Box();
            live[v] = maker.make(v);
            Maker::touch(live[v]);
        }
    });
    live.clear();
    return ns;
}

const bench::Cases object_cases{
    {"object-box", hot<Cached<quarry::SpinLock>>, hot<Heap>},
    {"object-box-nolock", hot<Cached<quarry::NoLock>>, hot<Heap>},
    {"object-churn", churn<Cached<quarry::SpinLock>>, churn<Heap>},
};

}  // namespace
