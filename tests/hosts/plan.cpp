// Prints the plan of a file for a list of devices, as text or as JSON: plan FILE DEVICES text|json

#include <cstring>
#include <iostream>

#include "rekindle.hpp"

int main(int argc, char **argv) try {
    if (argc != 4) return 2;
    rekindle::context context(argv[2], 2);
    rekindle::file file(context, argv[1]);
    rekindle::plan plan(context, file);
    std::cout << (std::strcmp(argv[3], "json") == 0 ? plan.json() : plan.text());
} catch (const rekindle::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
