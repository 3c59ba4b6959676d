// SPDX-License-Identifier: MIT
// quarryctl info: what the kernel side can do, and its limits (INFO on the device).
#include <cerrno>

#include "common.hpp"

namespace quarryctl {
namespace {

constexpr const char* doc =
    "What the loaded module can do, and its limits.\v"
    "Examples:\n"
    "  quarryctl info\n"
    "  quarryctl info --json | jq .max_pool\n\n"
    "Exit status: 0; 2 usage; 3 the module is not loaded or the device is closed to this user.\n";

constexpr argp_option options[] = {
    {"json", 'j', nullptr, 0, "print one JSON object", 0},
    {},
};

error_t parse(int key, char*, argp_state* state) {
    if (key == 'j') return *static_cast<bool*>(state->input) = true, 0;
    if (key == ARGP_KEY_ARG) argp_error(state, "info takes no arguments");
    return ARGP_ERR_UNKNOWN;
}

Report features_of(std::uint64_t bits) {
    Report names = Report::array();
    if (bits & QUARRY_FEATURE_HEAP) names.push_back("heap");
    if (bits & QUARRY_FEATURE_FIXED) names.push_back("fixed");
    if (bits & QUARRY_FEATURE_RANGE) names.push_back("range");
    if (bits & QUARRY_FEATURE_REGION_REMOVE) names.push_back("region-remove");
    if (bits & QUARRY_FEATURE_LOWMEM) names.push_back("lowmem");
    return names;
}

}  // namespace

int run_info(int argc, char** argv) {
    bool as_json = false;
    parse_arguments({options, parse, nullptr, doc, nullptr, nullptr, nullptr}, argc, argv,
                    &as_json);
    quarry_device* device = quarry_open(nullptr);
    if (!device) return complain_of(errno, QUARRY_CALL_OPEN, QUARRY_DEVICE);
    struct quarry_info info;
    const int result = quarry_info(device, &info);
    const int error = errno;
    quarry_close(device);
    if (result < 0) return complain_of(error, QUARRY_CALL_INFO, QUARRY_DEVICE);
    Report classes = Report::array();
    for (std::uint32_t i = 0; i < info.class_count && i < QUARRY_MAX_CLASSES; i++)
        classes.push_back(info.class_size[i]);
    print_report({{"abi_version", info.abi_version},
                  {"cpus", info.cpus},
                  {"features", features_of(info.features)},
                  {"page_size", info.page_size},
                  {"class_sizes", classes},
                  {"max_object", info.max_object},
                  {"max_pool", info.max_pool},
                  {"max_batch", info.max_batch},
                  {"max_clients", info.max_clients},
                  {"max_user_bytes", info.max_user_bytes},
                  {"max_user_pools", info.max_user_pools},
                  {"max_user_clients", info.max_user_clients}},
                 as_json);
    return ok;
}

}  // namespace quarryctl
