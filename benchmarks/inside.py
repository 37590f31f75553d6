def main(names, json):
    return 0
