def make_bases(folder):
    return {}


def check_case(case, seed, bases, folder):
    return "fine", ""
