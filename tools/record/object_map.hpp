// SPDX-License-Identifier: MIT
//
// Which object stands at which address: what turns a trace's addresses into object numbers.
//
// Open addressing with linear probing (Knuth, vol. 3, 6.4), at most half full, deletion by shifting
// back; O(1) expected. Allocates with calloc alone, and says so when it cannot.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace quarry::trace {

struct LiveObject {
    std::uint64_t address;  // 0: an empty place
    std::uint64_t object;
    std::uint64_t size;
    std::uint64_t born_ns;
    std::uint32_t born_thread;
};

class ObjectMap {
public:
    ObjectMap() = default;
    ObjectMap(const ObjectMap&) = delete;
    ObjectMap& operator=(const ObjectMap&) = delete;
    ~ObjectMap() { std::free(places_); }

    // Adds `object`, whose address must not be there; false: no memory, and nothing changed.
    [[nodiscard]] bool insert(const LiveObject& object) {
        if (2 * (count_ + 1) > capacity_ && !grow()) return false;
        place(object);
        count_++;
        return true;
    }

    // Takes the object at `address` out; false: there is none.
    bool take(std::uint64_t address, LiveObject& object) {
        if (!capacity_ || !address) return false;
        std::size_t hole = home(address);
        while (places_[hole].address != address) {
            if (!places_[hole].address) return false;
            hole = next(hole);
        }
        object = places_[hole];
        // Whatever may stand in the hole moves there, so that no search stops too early.
        for (std::size_t i = next(hole); places_[i].address; i = next(i)) {
            const std::size_t wanted = home(places_[i].address);
            if (((i - wanted) & (capacity_ - 1)) < ((i - hole) & (capacity_ - 1))) continue;
            places_[hole] = places_[i];
            hole = i;
        }
        places_[hole].address = 0;
        count_--;
        return true;
    }

    void clear() {
        std::free(places_);
        places_ = nullptr;
        capacity_ = count_ = 0;
    }

    std::size_t count() const { return count_; }

private:
    std::size_t next(std::size_t i) const { return (i + 1) & (capacity_ - 1); }
    std::size_t home(std::uint64_t address) const {
        return static_cast<std::size_t>((address * 0x9e3779b97f4a7c15u) >>
                                        (64 - std::countr_zero(capacity_)));
    }

    void place(const LiveObject& object) {
        std::size_t i = home(object.address);
        while (places_[i].address) i = next(i);
        places_[i] = object;
    }

    bool grow() {
        const std::size_t wanted = capacity_ ? 2 * capacity_ : 1024;
        auto* bigger = static_cast<LiveObject*>(std::calloc(wanted, sizeof(LiveObject)));
        if (!bigger) return false;
        LiveObject* old = places_;
        const std::size_t old_capacity = capacity_;
        places_ = bigger;
        capacity_ = wanted;
        for (std::size_t i = 0; i < old_capacity; i++)
            if (old[i].address) place(old[i]);
        std::free(old);
        return true;
    }

    LiveObject* places_ = nullptr;
    std::size_t capacity_ = 0;  // 0 or a power of two
    std::size_t count_ = 0;
};

}  // namespace quarry::trace
