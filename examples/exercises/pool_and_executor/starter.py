def square(number): ...


if __name__ == "__main__":
    print("pool:")
    print("executor:")
