// The smallest C++ host: plan, load, decode a text.

#include <iostream>

#include "rekindle.hpp"

int main(int argc, char **argv) try {
    rekindle::context context;
    rekindle::file file(context, argc > 1 ? argv[1] : "models/bible-5M-Q8_0.gguf");
    rekindle::plan plan(context, file);
    std::cout << plan.text();
    rekindle::model model(context, plan);
    rekindle::sampler greedy;
    model.generate(greedy, "And God said", 40, [](auto, auto piece) { return bool(std::cout << piece); });
} catch (const rekindle::error &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
