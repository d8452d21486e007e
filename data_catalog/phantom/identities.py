"""Made-up people with all that a hospital writes about them, for archives that have not been de-identified."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FAMILY_NAMES = (
    "Ahornsen", "Birkwald", "Distelkamp", "Eschbruck", "Erlenstieg", "Fichtelin", "Ginsterow", "Haselmuth", "Holundrek",
    "Kiefernau", "Lindquell", "Lärchental", "Musterfrau", "Mustermann", "Pappelrade", "Quellmark", "Rotdornek",
    "Schlehdornek", "Tannwald", "Ulmenried", "Wacholdrin", "Weidenkamm", "Weißdornek", "Zedernau",
)  # fmt: skip
GIVEN_NAMES = (
    "Anton", "Berta", "Clara", "Dietmar", "Emil", "Frieda", "Günther", "Hilde", "Ingo", "Jutta", "Konrad", "Lotte",
    "Moritz", "Nora", "Ottokar", "Paula", "Quirin", "Rosa", "Siegbert", "Thea", "Ulrich", "Vera", "Wendelin",
)  # fmt: skip
HOSPITALS = (
    ("Klinikum Musterstadt", "Parkallee 12, 99999 Musterstadt"),
    ("St. Exempla Krankenhaus", "Am Hang 3, 99998 Beispielen"),
    ("Lungenzentrum Phantasia", "Seeweg 77, 99997 Phantasia"),
)
DOCTORS = ("Doktorin^Mathilde^^Dr. med.", "Chefarztek^Leopold^^Prof. Dr.", "Überweisek^Ludmilla^^Dr. med.")


@dataclass(frozen=True, slots=True)
class Person:
    """One made-up patient and visit; dates as DICOM writes them, YYYYMMDD."""

    patient_id: str
    name: str
    birth_date: str
    sex: str
    address: str
    phone: str
    accession_number: str
    study_date: str
    study_time: str
    hospital: str
    hospital_address: str
    doctor: str


def make_people(count: int, seed: int) -> list[Person]:
    """Make up people whose patient ids grow with their place in the list.

    Parameters
    ----------
    count : int
        How many; no more than there are pairs of a family name and a given name.
    seed : int
        Same seed, same people.
    """
    rng = np.random.default_rng([seed, 20])
    pairs = rng.permutation(len(FAMILY_NAMES) * len(GIVEN_NAMES))[:count].tolist()
    patient_number = int(rng.integers(300_000, 400_000))
    people = []
    for pair in pairs:
        patient_number += int(rng.integers(11, 900))
        hospital, hospital_address = HOSPITALS[int(rng.integers(len(HOSPITALS)))]
        family, given = divmod(pair, len(GIVEN_NAMES))
        people.append(
            Person(
                patient_id=f"MH-{patient_number}",
                name=f"{FAMILY_NAMES[family]}^{GIVEN_NAMES[given]}",
                birth_date=_date(rng, 1935, 1975),
                sex="FM"[int(rng.integers(2))],
                address=f"Irrweg {int(rng.integers(1, 200))}, 99{int(rng.integers(100, 999))} Nirgendwo",
                phone=f"+49 30 23125 {int(rng.integers(100, 1000))}",
                accession_number=f"ACC{int(rng.integers(10**7, 10**8))}",
                study_date=_date(rng, 2011, 2023),
                study_time=f"{int(rng.integers(7, 19)):02d}{int(rng.integers(60)):02d}{int(rng.integers(60)):02d}",
                hospital=hospital,
                hospital_address=hospital_address,
                doctor=DOCTORS[int(rng.integers(len(DOCTORS)))],
            )
        )
    return people


def _date(rng: np.random.Generator, first_year: int, last_year: int) -> str:
    year = int(rng.integers(first_year, last_year + 1))
    return f"{year}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
